//! The table of patterns in `docs/configuration.md` says what each kind of pattern does. `--ref` is tried in a real command,
//! in the tests of the program.

use refgate_guest::Glob;
use refgate_project_matcher::Pattern;
use refgate_runtime::Policy;

mod patterns;

#[test]
fn every_row_of_the_table_of_patterns_is_true() {
    for row in patterns::rows() {
        let (pattern, name) = (&row.pattern, &row.name);
        let policy = Policy::parse(&format!("projects = ['{pattern}']")).unwrap();
        assert_eq!(policy.projects.covers(name), row.ref_option, "NAME.toml: `{pattern}` and `{name}`");
        let glob = Glob::new(pattern).unwrap();
        assert_eq!(glob.matches(name), row.filters, "settings of filters: `{pattern}` and `{name}`");
        let gerrit = Pattern::new(pattern).unwrap().matches(name).unwrap();
        assert_eq!(gerrit, row.projects, "projects.pattern: `{pattern}` and `{name}`");
    }
}
