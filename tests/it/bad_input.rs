//! Repositories that cannot be used: a clear error, and nothing half done.

use std::fs;
use std::os::unix::fs::chown;

use refgate_core::ObjectFormat;
use refgate_host::replicate::Options;
use refgate_host::{Error, ErrorKind};
use refgate_tests::{Lab, Repo, Setup, run};

use crate::told;

/// The error of a push from A to B and that of a fetch at A from B.
async fn errors(lab: &Lab) -> [Error; 2] {
    let options = Options::default();
    [
        lab.try_push("A", "B", &options).await.unwrap_err(),
        lab.try_fetch("A", "B", &options).await.unwrap_err(),
    ]
}

#[test]
fn an_unknown_project_and_an_unknown_remote() {
    run(async {
        let lab = Lab::with(&["ungated", "ungated"]);
        let error = lab.try_push("A", "Bb", &Options::default()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Usage);
        assert!(error.message.contains("`Bb`"), "{error}");
        fs::remove_dir_all(lab.path("A")).unwrap();
        for error in errors(&lab).await {
            assert_eq!(error.kind, ErrorKind::Usage);
            assert!(error.message.contains("team/app"), "{error}");
        }
    });
}

#[test]
fn nothing_is_created_for_a_project_that_does_not_replicate() {
    run(async {
        let lab = Lab::new(Setup::default());
        lab.site("A", "ungated");
        lab.empty_site("B", "ungated");
        for site in ["A", "B"] {
            lab.configure(site, "[projects]\npattern = other/*");
        }
        lab.repo("A").advance("main", "c0");
        let create = Options { create: true, ..Options::default() };
        for result in [lab.try_push("A", "B", &create).await, lab.try_fetch("B", "A", &create).await] {
            let error = result.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Usage);
            assert!(error.message.contains("does not replicate"), "{error}");
        }
        assert!(!lab.path("B").exists());
    });
}

#[test]
fn a_project_without_a_copy_at_the_remote_is_named_and_create_makes_it() {
    for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
        run(async {
            let lab = Lab::new(Setup { format, ..Setup::default() });
            lab.site("A", "ungated");
            lab.empty_site("B", "ungated");
            lab.repo("A").advance("main", "c0");
            for error in errors(&lab).await {
                assert_eq!(error.kind, ErrorKind::Failed);
                assert!(error.message.contains("team/app"), "{error}");
            }
            assert!(!lab.path("B").exists());
            let dry = Options { create: true, dry_run: true, ..Options::default() };
            assert!(lab.try_push("A", "B", &dry).await.is_err(), "a dry run creates nothing");
            let create = Options { create: true, ..Options::default() };
            let error = lab.try_fetch("A", "B", &create).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Failed, "there is nothing to fetch from");
            assert_eq!(told(&lab.try_push("A", "B", &create).await.unwrap()), ["main=replicated"]);
            let made = lab.repo("B");
            assert_eq!(made.git(&["rev-parse", "--show-object-format"]), format.name());
            assert_eq!(made.git(&["rev-parse", "--is-bare-repository"]), "true");
            assert_eq!(made.refs(), lab.repo("A").refs());

            lab.empty_site("C", "ungated");
            assert!(lab.try_fetch("C", "A", &dry).await.is_err() && !lab.path("C").exists());
            assert_eq!(told(&lab.try_fetch("C", "A", &create).await.unwrap()), ["main=replicated"]);
            assert_eq!(lab.repo("C").git(&["rev-parse", "--show-object-format"]), format.name());
            assert_eq!(lab.repo("C").refs(), lab.repo("A").refs());
        });
    }
}

#[test]
fn repositories_of_different_formats_do_not_mix() {
    run(async {
        let lab = Lab::with(&["ungated"]);
        lab.empty_site("B", "ungated");
        lab.repo("A").advance("main", "c0");
        Repo::init(&lab.path("B"), ObjectFormat::Sha256, "files").advance("main", "c0");
        for error in errors(&lab).await {
            assert_eq!(error.kind, ErrorKind::Failed);
            assert!(error.message.contains("sha256"), "{error}");
        }
    });
}

#[test]
#[ignore = "needs root; tests/run runs it as root"]
fn as_root_a_repository_of_somebody_else() {
    run(async {
        for site in ["A", "B"] {
            let lab = Lab::with(&["ungated", "ungated"]);
            lab.repo("A").advance("main", "c0");
            chown(lab.path(site), Some(12345), None).unwrap();
            for error in errors(&lab).await {
                assert_eq!(error.kind, ErrorKind::Failed);
                let text = format!("{error} {}", error.hint.as_deref().unwrap_or_default());
                assert!(text.contains("safe.directory") || text.contains("ownership"), "{site}: {text}");
                assert!(text.contains(&lab.path(site).display().to_string()), "{site}: {text}");
            }
        }
    });
}

#[test]
fn a_damaged_repository_is_not_an_empty_one() {
    run(async {
        let lab = Lab::with(&["gated", "gated"]);
        lab.repo("A").advance("main", "c0");
        lab.repo("B").advance("main", "c0");
        lab.repo("A").advance("old", "o");
        lab.seed("A").await;
        lab.push("A", "B").await;
        let before = lab.repo("B").refs();
        fs::write(lab.path("A").join("packed-refs"), "this is no list of refs\n").unwrap();
        for error in errors(&lab).await {
            assert!(error.message.contains("packed-refs"), "{error}");
        }
        fs::remove_file(lab.path("A").join("packed-refs")).unwrap();
        fs::write(lab.path("A").join("config"), "[core\n").unwrap();
        for error in errors(&lab).await {
            assert_eq!(error.kind, ErrorKind::Failed);
            assert!(error.message.contains("app.git"), "{error}");
        }
        assert_eq!(lab.repo("B").refs(), before);
    });
}

#[test]
fn a_ref_whose_objects_are_missing_is_refused_and_the_others_go() {
    run(async {
        let lab = Lab::with(&["ungated", "ungated"]);
        let broken = lab.repo("A").advance("broken", "gone");
        lab.repo("A").advance("fine", "fine");
        let (dir, file) = (broken.to_string()[..2].to_owned(), broken.to_string()[2..].to_owned());
        fs::remove_file(lab.path("A").join("objects").join(dir).join(file)).unwrap();
        let report = lab.try_push("A", "B", &Options::default()).await;
        // Nothing of it may arrive, whatever becomes of its neighbour.
        assert_eq!(lab.repo("B").get("broken"), None);
        assert!(lab.repo("B").is_whole());
        let report = report.unwrap();
        assert_eq!(told(&report), ["broken=rejected", "fine=replicated"]);
    });
}
