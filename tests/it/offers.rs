//! Which refs are offered, and under which name.

use refgate_host::replicate::Options;
use refgate_tests::{Lab, run};

use crate::{refusal, told};

#[test]
fn private_refs_are_not_offered_unless_a_refspec_names_them() {
    run(async {
        let lab = Lab::with(&["ungated", "ungated"]);
        let repo = lab.repo("A");
        let main = repo.advance("main", "c0");
        let private = [
            "refs/refgate/own",
            "refs/stash",
            "refs/remotes/o/main",
            "refs/replace/x",
            "refs/push-certs",
            "refs/prefetch/remotes/o/main",
            "refs/bisect/bad",
            "refs/rewritten/onto",
        ];
        private.iter().for_each(|name| repo.set(name, main));
        repo.set("refs/refgate/rescued/x", main);
        let expected = ["main=replicated", "refs/refgate/rescued/x=replicated"];
        assert_eq!(told(&lab.push("A", "B").await), expected);
        lab.site("C", "ungated");
        assert_eq!(told(&lab.fetch("C", "A").await), expected);

        lab.configure("A", "[remote \"B\"]\npush = +refs/remotes/*:refs/remotes/*");
        assert_eq!(told(&lab.push("A", "B").await), ["refs/remotes/o/main=replicated"]);
        // git itself takes no push to `refs/stash`, a name of one part.
        lab.configure("C", "[remote \"A\"]\nfetch = +refs/stash:refs/stash");
        assert_eq!(told(&lab.fetch("C", "A").await), ["refs/stash=replicated"]);
    });
}

#[test]
fn symbolic_refs_are_neither_offered_nor_written_through() {
    run(async {
        let lab = Lab::with(&["ungated", "ungated"]);
        let (a, b) = (lab.repo("A"), lab.repo("B"));
        let c0 = a.advance("main", "c0");
        b.advance("main", "c0");
        a.git(&["symbolic-ref", "refs/heads/alias", "refs/heads/main"]);
        a.set("x", a.commit(&[c0], "ahead"));
        b.git(&["symbolic-ref", "refs/heads/x", "refs/heads/main"]);
        // Neither A's alias, nor A's own `x` through B's.
        let report = lab.push("A", "B").await;
        assert_eq!(told(&report), ["x=rejected"]);
        assert!(refusal(&report, "x").contains("symbolic ref"));
        assert_eq!((b.get("main"), b.get("alias")), (Some(c0), None));
        // A fetch lists which refs are symbolic: both are left out.
        assert_eq!(told(&lab.fetch("B", "A").await), Vec::<String>::new());
        assert_eq!(b.get("main"), Some(c0));
        assert_eq!(told(&lab.fetch("A", "B").await), Vec::<String>::new());
        assert_eq!(b.git(&["symbolic-ref", "refs/heads/x"]), "refs/heads/main");
    });
}

#[test]
fn the_first_refspec_that_matches_wins() {
    run(async {
        let lab = Lab::with(&["ungated", "ungated"]);
        let main = lab.repo("A").advance("main", "c0");
        let topic = lab.repo("A").advance("topic", "t0");
        lab.repo("A").set("refs/tags/v1", main);
        lab.configure(
            "A",
            "[remote \"B\"]\npush = refs/heads/main:refs/heads/trunk\npush = +refs/heads/*:refs/mirror/*",
        );
        let report = lab.push("A", "B").await;
        assert_eq!(told(&report), ["main=replicated", "topic=replicated"]);
        assert_eq!(report.decision.moves.get(0).remote_name().to_string(), "refs/heads/trunk");
        let there: Vec<_> = lab.repo("B").refs().into_iter().collect();
        assert_eq!(there, [("refs/heads/trunk".to_owned(), main), ("refs/mirror/topic".to_owned(), topic)]);
        // Without `+` nothing is forced.
        lab.repo("A").set("main", topic);
        assert_eq!(told(&lab.push("A", "B").await), ["main=non-fast-forward"]);
        // And back under the local names.
        lab.site("C", "ungated");
        lab.configure("C", "[remote \"B\"]\nfetch = +refs/mirror/*:refs/heads/*");
        assert_eq!(told(&lab.fetch("C", "B").await), ["topic=replicated"]);
        assert_eq!(lab.repo("C").get("topic"), Some(topic));
    });
}

#[test]
fn no_tag_comes_that_nobody_asked_for() {
    run(async {
        let lab = Lab::with(&["ungated", "ungated"]);
        lab.repo("A").advance("main", "c0");
        lab.repo("A").git(&["tag", "-a", "-m", "one", "v1", "main"]);
        lab.repo("A").git(&["tag", "light", "main"]);
        lab.configure("B", "[remote \"A\"]\nfetch = +refs/heads/*:refs/heads/*");
        assert_eq!(told(&lab.fetch("B", "A").await), ["main=replicated"]);
        assert_eq!(lab.repo("B").refs().into_keys().collect::<Vec<_>>(), ["refs/heads/main"]);
        assert!(!lab.repo("B").path().join("FETCH_HEAD").exists());
        // Asked for, tags come as they are, annotated ones with their object.
        lab.site("C", "ungated");
        lab.fetch("C", "A").await;
        assert_eq!(lab.repo("C").refs(), lab.repo("A").refs());
    });
}

#[test]
fn an_empty_repository_has_nothing_to_offer_and_takes_everything() {
    run(async {
        let lab = Lab::with(&["gated", "gated"]);
        for report in [lab.push("A", "B").await, lab.fetch("A", "B").await] {
            assert_eq!((report.counts().offered, report.exit_code()), (0, 0));
        }
        lab.commit("A", "main", "c0").await;
        assert_eq!(told(&lab.push("A", "B").await), ["main=replicated"]);
    });
}

#[test]
fn names_in_each_others_way_are_reported_and_the_rest_moves() {
    run(async {
        let lab = Lab::with(&["ungated", "ungated"]);
        lab.repo("A").advance("a", "file");
        lab.repo("A").advance("x/y", "directory");
        lab.repo("B").advance("a/b", "below");
        lab.repo("B").advance("x", "above");
        lab.repo("B").advance("fine", "fine");
        let report = lab.fetch("A", "B").await;
        assert_eq!(told(&report), ["a/b=rejected", "fine=replicated", "x=rejected"]);
        assert_eq!(report.exit_code(), 1);
        let here: Vec<_> = lab.repo("A").refs().into_keys().collect();
        assert_eq!(here, ["refs/heads/a", "refs/heads/fine", "refs/heads/x/y"]);
        let report = lab.push("A", "B").await;
        assert_eq!(told(&report), ["a=rejected", "x/y=rejected"]);
    });
}

#[test]
fn globs_choose_source_names_and_cross_slashes() {
    run(async {
        let lab = Lab::with(&["ungated", "ungated"]);
        for name in ["main", "team/a/x", "team/y"] {
            lab.repo("A").advance(name, name);
        }
        let glob = globset::Glob::new("refs/heads/team/*").unwrap().compile_matcher();
        let options = Options { refs: vec![glob], ..Options::default() };
        let report = lab.try_push("A", "B", &options).await.unwrap();
        assert_eq!(told(&report), ["team/a/x=replicated", "team/y=replicated"]);
    });
}
