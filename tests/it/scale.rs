//! A repository with 100,000 refs.

use std::fs;

use refgate_core::{Edit, Expected, GlobalRef, Oid, RefName};
use refgate_host::replicate::Options;
use refgate_tests::{Lab, run};

use crate::told;

const REFS: usize = 100_000;

fn name(i: usize) -> String {
    format!("refs/heads/feature/b{i:06}")
}

/// Writes the refs at once, as `git pack-refs` would: one by one they take minutes.
fn pack(lab: &Lab, site: &str, oid: Oid) {
    let mut packed = "# pack-refs with: peeled fully-peeled sorted \n".to_owned();
    (0..REFS).for_each(|i| packed += &format!("{oid} {}\n", name(i)));
    fs::write(lab.path(site).join("packed-refs"), packed).unwrap();
}

#[test]
fn a_dry_run_over_all_and_a_push_of_a_few() {
    run(async {
        let lab = Lab::with(&["gated", "gated"]);
        let base = lab.repo("A").commit(&[], "base");
        assert_eq!(lab.repo("B").commit(&[], "base"), base);
        pack(&lab, "A", base);
        let edits: Vec<Edit> = (0..REFS)
            .map(|i| Edit::new(RefName::new(name(i)).unwrap(), Expected::Absent, GlobalRef::At(base)))
            .collect();
        lab.record_all("A", &edits).await;

        let dry = Options { dry_run: true, ..Options::default() };
        let report = lab.try_push("A", "B", &dry).await.unwrap();
        let counts = report.counts();
        assert_eq!((counts.offered, counts.kept, counts.replicated), (REFS, REFS, 0));
        assert!(lab.repo("B").refs().is_empty() && lab.clock().slept().is_empty());

        pack(&lab, "B", base);
        for i in [0, 50_000, 99_999] {
            lab.commit("A", &name(i), &i.to_string()).await;
        }
        lab.commit("B", &name(7), "B is ahead here").await;
        lab.repo("A").advance(&name(7), "and A has something else");
        let report = lab.push("A", "B").await;
        let expected = [0, 7, 50_000, 99_999].map(|i| {
            let outcome = if i == 7 { "not-up-to-date" } else { "replicated" };
            format!("feature/b{i:06}={outcome}")
        });
        assert_eq!(told(&report), expected);
        assert_eq!(lab.repo("B").get(&name(50_000)), lab.repo("A").get(&name(50_000)));
        assert_eq!(lab.repo("B").refs().len(), REFS);
    });
}
