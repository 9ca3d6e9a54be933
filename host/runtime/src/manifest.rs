//! What a plugin says about itself: JSON in a section of the component, read without running or compiling anything.

mod source;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::limits::REASON_BYTES;
use crate::log::{cut, printable};
use crate::sections::{custom, sections};
use crate::{scan, schema};

/// The custom section that holds the manifest.
const SECTION: &str = "refgate:manifest";

/// Bytes of the section.
const MANIFEST_BYTES: usize = 1 << 20;

/// Bytes of one text that people read.
const TEXT_BYTES: usize = 4 << 10;

/// The version of this program, which `minimum_host` is compared with.
const HOST: &str = env!("CARGO_PKG_VERSION");

/// What the author of a plugin wrote down about it. Everything may be left out, and fields of later versions are passed
/// over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Manifest {
    /// What its author calls it. The plugin's name is that of its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its own version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What it is for, in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Names of the worlds that it was built for. What counts is what the component exports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub worlds: Vec<String>,
    /// The reasons that it gives, and what each means.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reasons: BTreeMap<String, String>,
    /// A JSON Schema of its settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<Value>,
    /// The oldest refgate that it works with: `MAJOR.MINOR.PATCH`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_host: Option<String>,
    /// Case files that show what it does, each an object with `cases`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cases: Vec<Value>,
    /// What it was built with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdk: Option<String>,
    /// Where its source is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl Manifest {
    /// The manifest of a component, if it has one.
    ///
    /// # Errors
    /// The bytes are no whole component, or the manifest is not usable: two of them, more than 1 MiB, no JSON, a settings
    /// schema that is none, a reason that is not kebab-case or longer than 64 bytes.
    pub fn read(wasm: &[u8]) -> Result<Option<Manifest>, String> {
        scan::check_amounts(wasm)?;
        let mut found = None;
        for section in sections(wasm)? {
            let Some((SECTION, data)) = section.custom else { continue };
            if found.replace(data).is_some() {
                return Err(format!("it has two sections `{SECTION}`: build it again"));
            }
        }
        let Some(data) = found else { return Ok(None) };
        if data.len() > MANIFEST_BYTES {
            return Err(format!(
                "its manifest has {} bytes, and at most {MANIFEST_BYTES} are read",
                data.len()
            ));
        }
        let manifest: Manifest = serde_json::from_slice(data)
            .map_err(|e| format!("its manifest (section `{SECTION}`) is not usable: {e}"))?;
        manifest.check().map_err(|e| format!("its manifest is not usable: {e}"))?;
        Ok(Some(manifest))
    }

    /// The component with this manifest, in the place of any other one.
    ///
    /// # Errors
    /// The bytes are no whole component, or [`read`](Self::read) would refuse the manifest.
    pub fn embed(&self, wasm: &[u8]) -> Result<Vec<u8>, String> {
        self.check()?;
        let data = serde_json::to_vec(self).map_err(|e| e.to_string())?;
        if data.len() > MANIFEST_BYTES {
            return Err(format!("it has {} bytes, and at most {MANIFEST_BYTES} are read", data.len()));
        }
        let mut out = Vec::with_capacity(wasm.len() + data.len() + 32);
        let mut kept = 0;
        for section in sections(wasm)? {
            if matches!(section.custom, Some((SECTION, _))) {
                out.extend_from_slice(&wasm[kept..section.place.start]);
                kept = section.place.end;
            }
        }
        out.extend_from_slice(&wasm[kept..]);
        out.extend_from_slice(&custom(SECTION, &data));
        Ok(out)
    }

    /// Refuses a plugin that needs a newer refgate.
    pub fn check_host(&self) -> Result<(), String> {
        match &self.minimum_host {
            Some(needed) if parsed(needed) > parsed(HOST) => Err(format!(
                "it needs refgate {needed} or newer, and this is {HOST}: update refgate, or use an older version of the plugin"
            )),
            _ => Ok(()),
        }
    }

    /// What refuses a plugin before anything of it is compiled: its manifest, the host that it needs, its settings, which
    /// become what its schema says. `Err` with `true` says that it is the settings.
    pub(crate) fn admit(
        wasm: &[u8],
        settings: &mut Map<String, Value>,
    ) -> Result<Option<Manifest>, (bool, String)> {
        let manifest = Manifest::read(wasm).map_err(|e| (false, e))?;
        if let Some(manifest) = &manifest {
            manifest.check_host().map_err(|e| (false, e))?;
            if let Some(schema) = &manifest.settings {
                schema::fit(schema, settings).map_err(|e| (true, format!("it refuses its settings: {e}")))?;
            }
        }
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        let texts = [
            ("name", &self.name),
            ("version", &self.version),
            ("description", &self.description),
            ("minimum_host", &self.minimum_host),
            ("sdk", &self.sdk),
            ("source", &self.source),
        ];
        for (field, text) in texts {
            one_line(text.as_deref().unwrap_or_default()).map_err(|e| format!("`{field}` {e}"))?;
        }
        for world in &self.worlds {
            one_line(world).map_err(|e| format!("a name in `worlds` {e}"))?;
        }
        for (reason, meaning) in &self.reasons {
            if !is_reason(reason) {
                let shown = printable(cut(reason, 80));
                return Err(format!("the reason `{shown}` is not kebab-case of at most 64 bytes"));
            }
            one_line(meaning).map_err(|e| format!("the meaning of `{reason}` {e}"))?;
        }
        if let Some(needed) = &self.minimum_host
            && parsed(needed).is_none()
        {
            return Err(format!(
                "`minimum_host` is `{needed}`: write it as MAJOR.MINOR.PATCH, like `{HOST}`"
            ));
        }
        if let Some(schema) = &self.settings {
            schema::check(schema)
                .map_err(|e| format!("`settings` is not a JSON Schema that refgate takes: {e}"))?;
        }
        match self.cases.iter().position(|file| !file.get("cases").is_some_and(Value::is_array)) {
            Some(i) => {
                Err(format!("`cases` at {i} is not a case file: it must be an object with a list `cases`"))
            }
            None => Ok(()),
        }
    }
}

/// `MAJOR.MINOR.PATCH`; numbers that order it.
fn parsed(version: &str) -> Option<[u64; 3]> {
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?;
    let mut parts = version.split('.').map(digits);
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

/// As in verdicts: kebab-case and bounded.
fn is_reason(reason: &str) -> bool {
    let word =
        |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    reason.len() <= REASON_BYTES && reason.split('-').all(word)
}

/// Text that is shown to people must not pass for something else on their terminal.
fn one_line(text: &str) -> Result<(), String> {
    if text.len() > TEXT_BYTES {
        return Err(format!("has {} bytes: write at most {TEXT_BYTES}", text.len()));
    }
    if text.contains(char::is_control) {
        return Err("has a control character: write one line of text".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn manifest() -> Manifest {
        Manifest {
            name: Some("no-wip".into()),
            version: Some("1.2.3".into()),
            description: Some("Holds back drafts – all of them".into()),
            worlds: vec!["push-filter".into()],
            reasons: [("work-in-progress".to_owned(), "a draft".to_owned())].into(),
            settings: Some(json!({"properties": {"prefix": {"type": "array"}}})),
            minimum_host: Some("0.1.0".into()),
            cases: vec![json!({"cases": []})],
            sdk: Some("refgate-guest 0.1.0".into()),
            source: None,
        }
    }

    fn with(json: &str) -> Vec<u8> {
        [EMPTY, &custom(SECTION, json.as_bytes())].concat()
    }

    #[test]
    fn what_is_embedded_is_read_back_and_replaced() {
        let mut wasm = EMPTY.to_vec();
        wasm.extend(custom("producers", b"x"));
        let first = Manifest { name: Some("old".into()), ..Manifest::default() }.embed(&wasm).unwrap();
        let first = [first, custom("after", b"y")].concat();
        let second = manifest().embed(&first).unwrap();
        assert_eq!(Manifest::read(&second).unwrap(), Some(manifest()));
        assert_eq!(manifest().embed(&second).unwrap(), second, "the same every time");
        let names: Vec<_> =
            sections(&second).unwrap().iter().map(|s| s.custom.unwrap().0.to_owned()).collect();
        assert_eq!(names, ["producers", "after", SECTION]);
        assert_eq!(Manifest::read(&wasm).unwrap(), None);
        assert_eq!(Manifest::read(&with("{}")).unwrap(), Some(Manifest::default()));
        assert_eq!(Manifest::read(&with(r#"{"later":1,"name":"a"}"#)).unwrap().unwrap().name.unwrap(), "a");
    }

    #[test]
    fn a_file_cut_off_anywhere_is_an_error_or_has_no_manifest() {
        let wasm = manifest().embed(&[EMPTY, &custom("producers", &[7; 200])].concat()).unwrap();
        for end in 0..wasm.len() {
            match Manifest::read(&wasm[..end]) {
                Ok(None) => assert!(sections(&wasm[..end]).unwrap().len() < 2, "{end}"),
                Ok(Some(_)) => panic!("read from {end} bytes"),
                Err(e) => assert!(!e.is_empty()),
            }
        }
        for at in 0..wasm.len() {
            let mut bad = wasm.clone();
            bad[at] ^= 0x41;
            // Whatever comes out, it comes out.
            let _: Result<_, String> = Manifest::read(&bad);
        }
    }

    #[test]
    fn a_manifest_that_cannot_be_used_is_refused_with_the_cause() {
        let long = format!(r#"{{"reasons":{{"{}":"x"}}}}"#, "a".repeat(65));
        let wide = format!(r#"{{"description":"{}"}}"#, "a".repeat(5000));
        for (json, cause) in [
            ("", "EOF"),
            ("[1", "expected"),
            (r#"{"name":1}"#, "line 1 column 9"),
            (r#"{"reasons":{"Not Kebab":"x"}}"#, "the reason `Not Kebab` is not kebab-case"),
            (r#"{"reasons":{"a\u001bb":"x"}}"#, "is not kebab-case"),
            (&long, "at most 64 bytes"),
            (&wide, "`description` has 5000 bytes"),
            (r#"{"description":"\u001b[2J"}"#, "control character"),
            (r#"{"minimum_host":"1.0"}"#, "write it as MAJOR.MINOR.PATCH"),
            (r#"{"minimum_host":"+1.0.0"}"#, "write it as MAJOR.MINOR.PATCH"),
            (r#"{"settings":{"type":"txt"}}"#, "not a JSON Schema"),
            (r#"{"cases":[{"cases":[]},[]]}"#, "`cases` at 1"),
        ] {
            let error = Manifest::read(&with(json)).unwrap_err();
            assert!(error.contains("manifest") && error.contains(cause), "{json:.60}: {error}");
        }
        let twice = [with("{}"), custom(SECTION, b"{}")].concat();
        assert!(Manifest::read(&twice).unwrap_err().contains("two sections"));
        let huge = [EMPTY, &custom(SECTION, &vec![b' '; MANIFEST_BYTES + 1])].concat();
        assert!(Manifest::read(&huge).unwrap_err().contains("1048577 bytes"));
        let bad = Manifest { minimum_host: Some("soon".into()), ..Manifest::default() };
        assert!(bad.embed(EMPTY).is_err(), "what would not be read is not written");
    }

    #[test]
    fn a_plugin_for_a_newer_host_is_refused_with_both_versions() {
        let needs = |version: &str| Manifest { minimum_host: Some(version.into()), ..Manifest::default() };
        for old in ["0.0.9", "0.1.0", "0.0.1000"] {
            assert_eq!(needs(old).check_host(), Ok(()), "{old}");
        }
        for new in ["0.1.10", "0.10.0", "1.0.0"] {
            let error = needs(new).check_host().unwrap_err();
            assert!(error.contains(new) && error.contains(HOST), "{error}");
        }
    }
}
