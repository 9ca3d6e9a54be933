//! Whatever is in the way of one ref, at whoever writes refs, in whichever storage: the others move in the same run, the
//! culprit says what is in its way, nothing is said that is not so, and when the obstacle is gone one run makes all equal.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use refgate_core::{GlobalRef, ObjectFormat, Oid, Project};
use refgate_host::heal::{self, RowResult, heal};
use refgate_host::replicate::Options;
use refgate_host::{Report, State};
use refgate_tests::{Lab, PROJECT, Repo, Setup, run};

/// Something that keeps the branch `x` from being moved.
struct Obstacle {
    name: &'static str,
    /// Also where refs are in a reftable.
    everywhere: bool,
    put: fn(&Repo),
    remove: fn(&Repo),
    /// What the culprit says where this site writes; a remote has its own words.
    says: &'static str,
}

fn put(repo: &Repo, file: &str) {
    let path = repo.path().join(file);
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("it is ours");
    fs::write(path, b"").expect("it is ours");
}

fn remove(repo: &Repo, file: &str) {
    fs::remove_file(repo.path().join(file)).expect("it is there");
}

/// A hook of git that refuses whatever touches `x`, in words of its own.
const VETO: &str = "[ \"$1\" = prepared ] || exit 0\n! grep -q ' refs/heads/x$'";

const OBSTACLES: [Obstacle; 8] = [
    Obstacle {
        name: "a lock file that a dead process left",
        everywhere: false,
        put: |repo| put(repo, "refs/heads/x.lock"),
        remove: |repo| remove(repo, "refs/heads/x.lock"),
        says: "x.lock` exists; if no git runs there, remove that file",
    },
    Obstacle {
        name: "the lock of HEAD, which names the branch",
        everywhere: false,
        put: |repo| {
            repo.git(&["symbolic-ref", "HEAD", "refs/heads/x"]);
            put(repo, "HEAD.lock");
        },
        remove: |repo| remove(repo, "HEAD.lock"),
        says: "HEAD.lock",
    },
    Obstacle {
        name: "a directory in the place of the ref, with a file in it",
        everywhere: false,
        put: |repo| {
            repo.git(&["pack-refs", "--all"]);
            put(repo, "refs/heads/x/.nfs1");
        },
        remove: |repo| {
            remove(repo, "refs/heads/x/.nfs1");
            // Some gits do not look for empty directories of packed refs.
            let _ = fs::remove_dir(repo.path().join("refs/heads/x"));
        },
        says: ".nfs1`; move that away",
    },
    Obstacle {
        name: "a directory in the place of the reflog, with a file in it",
        everywhere: false,
        put: |repo| {
            repo.git(&["config", "core.logAllRefUpdates", "always"]);
            let _ = fs::remove_dir_all(repo.path().join("logs"));
            put(repo, "logs/refs/heads/x/left-over");
        },
        remove: |repo| remove(repo, "logs/refs/heads/x/left-over"),
        says: "left-over` is in the way; move it away",
    },
    Obstacle {
        name: "a damaged file",
        everywhere: false,
        put: |repo| put(repo, "refs/heads/x"),
        remove: |repo| remove(repo, "refs/heads/x"),
        says: "refs/heads/x` is damaged: it is empty",
    },
    Obstacle {
        name: "a linked work tree",
        everywhere: true,
        put: |repo| {
            let tree = repo.path().with_extension("tree");
            // Only what the work tree says of itself matters.
            let place = tree.to_str().expect("a legal path").to_owned();
            repo.git(&["worktree", "add", "-q", "--no-checkout", "-f", &place, "x"]);
        },
        remove: |repo| {
            let tree = repo.path().with_extension("tree");
            repo.git(&["worktree", "remove", "--force", tree.to_str().expect("a legal path")]);
        },
        says: "checked out in `",
    },
    Obstacle {
        name: "a hook that names no ref",
        everywhere: true,
        put: |repo| repo.hook("reference-transaction", VETO),
        remove: |repo| remove(repo, "hooks/reference-transaction"),
        says: "hook",
    },
    Obstacle {
        name: "a setting of the repository",
        everywhere: true,
        put: |repo| {
            // Where `x` is reset, see [`sites`].
            repo.git(&["config", "receive.denyNonFastForwards", "true"]);
        },
        remove: |repo| {
            repo.git(&["config", "--unset", "receive.denyNonFastForwards"]);
        },
        says: "receive.denyNonFastForwards",
    },
];

/// Two gated sites. At B everything is at its first value; at A `x` was reset, and the others moved forward.
async fn sites(reftable: bool) -> (std::sync::Arc<Lab>, Vec<(&'static str, Oid, Oid)>) {
    let lab = Lab::new(Setup { reftable, ..Setup::default() });
    for name in ["A", "B"] {
        lab.site(name, "gated");
    }
    let a = lab.repo("A");
    let c0 = a.commit(&[], "c0");
    let c1 = a.commit(&[c0], "c1");
    let names = ["main", "w", "x", "z/1", "z/2"];
    names.iter().for_each(|name| a.set(name, c1));
    lab.seed("A").await;
    assert_eq!(lab.push("A", "B").await.exit_code(), 0);
    let next = |name: &str| match name {
        "x" => a.commit(&[c0], "reset"),
        other => a.commit(&[c1], other),
    };
    let moves: Vec<_> = names.iter().map(|name| (*name, c1, next(name))).collect();
    for (name, old, new) in &moves {
        assert!(lab.record("A", name, GlobalRef::At(*old), GlobalRef::At(*new)).await);
        a.set(name, *new);
    }
    (lab, moves)
}

/// What happens at B, where the obstacle is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Push,
    Fetch,
    CatchUp,
    Heal,
}

impl Place {
    const ALL: [Place; 4] = [Place::Push, Place::Fetch, Place::CatchUp, Place::Heal];

    /// Runs it, and gives what it says of `x`, and its exit code.
    async fn run(self, lab: &Lab) -> (Option<String>, u8) {
        match self {
            Place::Push => of_x(&lab.push("A", "B").await),
            Place::Fetch => of_x(&lab.fetch("B", "A").await),
            // What is not on offer there is what the site itself is behind at.
            Place::CatchUp => of_x(&lab.push("B", "A").await),
            Place::Heal => {
                let site = lab.open("B").await.expect("a site");
                let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_793_707_205);
                let options =
                    heal::Options { publish: false, rescue: false, accept_loss: None, yes: true, now };
                let report =
                    heal(&site, &Project::new(PROJECT).expect("a name"), &options).await.expect("a look");
                let x = report.refs.iter().find(|one| one.finding.name.to_string() == "refs/heads/x");
                let said = x.filter(|one| one.result != RowResult::Done).map(|one| one.action.clone());
                (said, report.exit_code())
            }
        }
    }

    /// Objects that the site needs before it can move a ref by itself.
    fn prepare(self, lab: &Lab, moves: &[(&'static str, Oid, Oid)]) {
        if matches!(self, Place::CatchUp | Place::Heal) {
            let from = lab.path("A");
            for (_, _, new) in moves {
                let new = new.to_string();
                lab.repo("B").git(&[
                    "fetch",
                    "-q",
                    "--no-write-fetch-head",
                    from.to_str().expect("a path"),
                    &new,
                ]);
            }
        }
    }
}

/// What a report says of `x` beside that it was replicated, and its exit code.
fn of_x(report: &Report) -> (Option<String>, u8) {
    let x = report.decision.moves.iter().find(|one| one.name().to_string() == "refs/heads/x");
    let said = x.filter(|x| *x.state() != State::Done);
    let said = said.map(|x| format!("{} {}", x.state(), x.hint().unwrap_or_default()));
    let stuck = report.stuck.iter().find(|one| one.name.to_string() == "refs/heads/x");
    let broken = report.decision.problems.iter().find(|problem| problem.contains("refs/heads/x"));
    let told = [said, stuck.map(|one| one.why.clone()), broken.cloned()];
    let told: Vec<String> = told.into_iter().flatten().collect();
    ((!told.is_empty()).then(|| told.join("; ")), report.exit_code())
}

async fn one_obstacle(obstacle: &Obstacle, place: Place, reftable: bool) {
    let shown = format!("{} at {place:?}, reftable: {reftable}", obstacle.name);
    let (lab, moves) = sites(reftable).await;
    place.prepare(&lab, &moves);
    let b = lab.repo("B");
    (obstacle.put)(&b);
    let (said, code) = place.run(&lab).await;
    for (name, _, new) in moves.iter().filter(|(name, ..)| *name != "x") {
        assert_eq!(b.get(name), Some(*new), "{shown}: {name} did not move; {said:?}");
    }
    let x = &moves.iter().find(|(name, ..)| *name == "x").expect("it is one of them").2;
    assert_ne!(b.get("x"), Some(*x), "{shown}: the obstacle is none");
    let said = said.unwrap_or_else(|| panic!("{shown}: nothing is said of the culprit"));
    assert_ne!(code, 0, "{shown}: {said}");
    if place != Place::Push {
        assert!(said.contains(obstacle.says), "{shown}: {said}");
    }
    (obstacle.remove)(&b);
    place.run(&lab).await;
    let (said, code) = place.run(&lab).await;
    assert_eq!((said, code), (None, 0), "{shown}");
    assert_eq!(b.refs(), lab.repo("A").refs(), "{shown}");
}

fn every_place(reftable: bool) {
    if reftable && !refgate_tests::reftable_is_known() {
        return;
    }
    for obstacle in OBSTACLES.iter().filter(|obstacle| !reftable || obstacle.everywhere) {
        // git itself takes no objects into a repository in which a ref is damaged.
        let damaged = obstacle.name == "a damaged file";
        for place in Place::ALL.into_iter().filter(|place| *place != Place::Push || !damaged) {
            run(one_obstacle(obstacle, place, reftable));
        }
    }
}

#[test]
fn in_files_an_obstacle_stops_its_own_ref_only() {
    every_place(false);
}

#[test]
fn in_a_reftable_an_obstacle_stops_its_own_ref_only() {
    every_place(true);
}

#[test]
fn a_name_that_one_storage_cannot_hold_stops_no_other_ref() {
    if !refgate_tests::reftable_is_known() {
        return;
    }
    run(async {
        let lab = Lab::new(Setup::default());
        lab.site("A", "gated");
        lab.empty_site("B", "gated");
        Repo::init(&lab.path("B"), ObjectFormat::Sha1, "reftable");
        let long = format!("x{}", "n".repeat(300));
        let (a, b) = (lab.repo("A"), lab.repo("B"));
        let c0 = b.advance("main", "c0");
        b.set(&long, c0);
        lab.seed("B").await;
        for report in [lab.fetch("A", "B").await, lab.push("B", "A").await, lab.fetch("A", "B").await] {
            let told = [
                report.stuck.iter().map(|one| one.why.clone()).collect(),
                report.decision.moves.iter().map(|one| one.state().to_string()).collect::<Vec<_>>(),
            ]
            .concat();
            assert_eq!(report.exit_code(), 1, "{told:?}");
            assert!(told.iter().any(|why| why.contains("too long") || why.contains("failed to")), "{told:?}");
            assert_eq!(a.get("main"), Some(c0));
        }
        let only = globset::GlobBuilder::new("refs/heads/main").build().expect("a glob").compile_matcher();
        b.advance("main", "c1");
        assert!(
            lab.record("B", "main", GlobalRef::At(c0), GlobalRef::At(b.get("main").expect("it is there")))
                .await
        );
        let options = Options { refs: vec![only], ..Options::default() };
        let report = lab.try_push("B", "A", &options).await.expect("a push");
        assert_eq!(
            (report.exit_code(), a.get("main")),
            (0, b.get("main")),
            "what was not selected says nothing"
        );
    });
}

#[test]
fn a_damaged_ref_at_the_remote_is_named_and_the_others_travel() {
    run(async {
        let lab = Lab::with(&["ungated", "ungated"]);
        let (a, b) = (lab.repo("A"), lab.repo("B"));
        let c0 = a.advance("main", "c0");
        a.set("e", c0);
        lab.push("A", "B").await;
        a.advance("main", "c1");
        b.set("new", c0);
        fs::write(b.path().join("refs/heads/e"), b"").expect("it is ours");
        // git itself takes no objects where a damaged ref ends its walk, and that is said of the refs that it refuses.
        let report = lab.push("A", "B").await;
        assert!(
            crate::refusal(&report, "main").contains("`refs/heads/e` is damaged at `B`"),
            "{:?}",
            report.decision.moves
        );
        for report in [report, lab.fetch("A", "B").await] {
            assert_ne!(report.exit_code(), 0);
            let e = crate::decided(&report, "e");
            let hint = e.hint().unwrap_or_default();
            assert!(hint.contains("damaged there") && hint.contains("`B`"), "{hint}");
        }
        assert_eq!(a.get("new"), Some(c0));
        fs::remove_file(b.path().join("refs/heads/e")).expect("it is there");
        lab.push("A", "B").await;
        assert_eq!(a.refs(), b.refs());
    });
}
