//! The steps that look.

use refgate_core::GlobalRef;
use refgate_host::Report;

use super::Play;
use crate::outcomes;

impl Play {
    /// Checks one expectation, which is the last kind of step there is.
    pub(super) async fn expects(&self, at: &str, words: &[&str]) {
        let lab = &self.lab;
        match words {
            ["expect", "lost", commit] => {
                let oid = self.oid(commit);
                assert!(!self.is_kept(commit), "{at}: a ref still leads to `{commit}`");
                let seen = lab.names().iter().any(|site| lab.repo(site).lost(oid));
                assert!(seen, "{at}: git does not know `{commit}` as unreachable");
            }
            ["expect", "kept", commit] => assert!(self.is_kept(commit), "{at}: `{commit}` is lost"),
            ["expect", "ref", site, name, value] => {
                let expected = (*value != "absent").then(|| self.oid(value));
                assert_eq!(lab.repo(site).get(name), expected, "{at}: {name} at {site}");
            }
            ["expect", "global", name, value] => {
                let expected = match *value {
                    "deleted" => GlobalRef::Deleted,
                    "untracked" => GlobalRef::Untracked,
                    commit => GlobalRef::At(self.oid(commit)),
                };
                let site = lab.names().remove(0);
                assert_eq!(lab.entry(&site, name).await.value, expected, "{at}: {name} in the ref-db");
            }
            ["expect", "equal", one, other] => {
                assert_eq!(lab.repo(one).refs(), lab.repo(other).refs(), "{at}: {one} and {other} differ");
            }
            ["expect", "waits", count] => {
                assert_eq!(lab.clock().slept().len().to_string(), *count, "{at}: waits so far");
            }
            other => panic!("{at}: `{}` is not a step", other.join(" ")),
        }
    }

    /// Compares a whole report: no ref more, no ref less.
    pub(super) fn check(&self, at: &str, report: &Report, expected: &[&str]) {
        let mut actual: Vec<String> =
            outcomes(report).iter().map(|(name, outcome)| format!("{name}={outcome}")).collect();
        actual.sort();
        let mut wanted: Vec<&str> = expected.iter().copied().filter(|word| *word != "nothing").collect();
        wanted.sort_unstable();
        assert_eq!(actual, wanted, "{at}: problems {:?}", report.decision.problems);
    }
}
