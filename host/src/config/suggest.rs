//! What may have been meant by a key or a section that refgate does not know.

use super::keys::KeyDoc;
use super::table::reference;

/// What may have been meant by a key that is not in the table.
pub(super) fn key(section: &str, subsection: Option<&str>, key: &str) -> String {
    let here = || reference().iter().filter(|doc| doc.section == section);
    let fitting: Vec<_> = here().filter(|doc| doc.subsection_fits(subsection)).collect();
    if let Some(doc) = nearest(key, fitting.iter().map(|doc| (doc.key, *doc))) {
        return format!("did you mean `{}`?", doc.key);
    }
    // The right key under a wrong header, in this section or another.
    let same_key = |doc: &&KeyDoc| doc.used && doc.key.eq_ignore_ascii_case(key);
    if let Some(doc) = here().find(same_key).or_else(|| reference().iter().find(same_key)) {
        return format!("`{}` belongs below `{}`", doc.key, doc.header());
    }
    if fitting.is_empty() {
        let mut headers: Vec<String> =
            here().filter(|doc| doc.used).map(|doc| format!("`{}`", doc.header())).collect();
        headers.dedup();
        return format!("write {}", headers.join(" or "));
    }
    let known: Vec<String> =
        fitting.iter().filter(|doc| doc.used).map(|doc| format!("`{}`", doc.key)).collect();
    format!("the keys here are {}", known.join(", "))
}

/// The section that may have been meant by one that refgate does not know.
pub(super) fn section(section: &str) -> Option<&'static str> {
    nearest(section, reference().iter().filter(|doc| doc.used).map(|doc| (doc.section, doc)))
        .map(|doc| doc.section)
}

fn nearest<'k>(
    written: &str,
    known: impl Iterator<Item = (&'k str, &'static KeyDoc)>,
) -> Option<&'static KeyDoc> {
    let written = written.to_ascii_lowercase();
    known
        .filter(|(text, _)| *text != "*")
        .map(|(text, doc)| (strsim::levenshtein(&written, &text.to_ascii_lowercase()), text.len(), doc))
        .filter(|(distance, len, _)| *distance <= (len / 3).clamp(1, 4))
        .min_by_key(|(distance, ..)| *distance)
        .map(|(.., doc)| doc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_found() {
        assert_eq!(key("ref-database", None, "ur"), "did you mean `url`?");
        assert_eq!(key("site", None, "base-path"), "did you mean `basePath`?");
        assert_eq!(
            key("replication", None, "minwaitbeforereloadlocalversionms"),
            "`minWaitBeforeReloadLocalVersionMs` belongs below `[replication \"push-filter\"]`"
        );
        assert_eq!(key("remote", None, "colour"), "write `[remote \"NAME\"]`");
        assert_eq!(
            key("plugins", None, "colour"),
            "the keys here are `directory`, `require`, `verify`, `signers`, `state`, `compileTimeout`, `compileMemory`, `cases`, `shadowLooks`, `maxChanged`, `rollbackFailures`, `rollbackSeconds`, `record`"
        );
        assert_eq!(section("project"), Some("projects"));
        assert_eq!(section("gerrit"), None);
    }
}
