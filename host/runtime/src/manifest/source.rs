//! `filter.toml`: what an author writes, from which the manifest is made.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use super::Manifest;

/// The file as it is written; a misspelt key must not go unnoticed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Source {
    name: Option<String>,
    version: Option<String>,
    description: Option<String>,
    minimum_host: Option<String>,
    source: Option<String>,
    #[serde(default)]
    cases: Vec<PathBuf>,
    #[serde(default)]
    reasons: BTreeMap<String, String>,
    settings: Option<Value>,
}

impl Manifest {
    /// A manifest from the text of a `filter.toml`, and the case files that it names, which belong into
    /// [`cases`](Manifest::cases). Texts of several lines become one.
    ///
    /// # Errors
    /// No TOML, an unknown key, or a manifest that [`read`](Manifest::read) would refuse; with the place.
    pub fn from_toml(text: &str) -> Result<(Manifest, Vec<PathBuf>), String> {
        let source: Source = toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())?;
        let manifest = Manifest {
            name: source.name,
            version: source.version,
            description: source.description.as_deref().map(one_line),
            reasons: source.reasons.into_iter().map(|(name, text)| (name, one_line(&text))).collect(),
            settings: source.settings,
            minimum_host: source.minimum_host,
            source: source.source,
            ..Manifest::default()
        };
        manifest.check()?;
        Ok((manifest, source.cases))
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_an_author_writes_becomes_a_manifest() {
        let (manifest, cases) = Manifest::from_toml(
            "description = \"\"\"\nHolds back\n  drafts.\n\"\"\"\nminimum-host = \"0.1.0\"\ncases = [\"cases.json\"]\n\
             [reasons]\nwork-in-progress = \"a draft\"\n\
             [settings]\ntype = \"object\"\nadditionalProperties = false\n\
             [settings.properties.prefix]\ntype = \"array\"\nitems = { type = \"string\", minLength = 1 }\n",
        )
        .unwrap();
        assert_eq!(cases, [PathBuf::from("cases.json")]);
        assert_eq!(manifest.description.as_deref(), Some("Holds back drafts."));
        assert_eq!(manifest.reasons["work-in-progress"], "a draft");
        assert_eq!(
            manifest.settings,
            Some(json!({"type": "object", "additionalProperties": false,
                "properties": {"prefix": {"type": "array", "items": {"type": "string", "minLength": 1}}}}))
        );
        assert_eq!(Manifest::from_toml("").unwrap(), (Manifest::default(), Vec::new()));
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (text, cause) in [
            ("descripton = \"x\"", "unknown field `descripton`"),
            ("minimum_host = \"0.1.0\"", "minimum-host"),
            ("description = ", "line 1"),
            ("[reasons]\nNot = \"x\"", "the reason `Not` is not kebab-case"),
            ("[settings]\ntype = \"text\"", "JSON Schema"),
            ("minimum-host = \"1\"", "MAJOR.MINOR.PATCH"),
        ] {
            let error = Manifest::from_toml(text).unwrap_err();
            assert!(error.contains(cause), "{text}: {error}");
        }
    }
}
