//! The shipped filters against the host's own table, over all states of a ref: both directions, both looks, every kind of
//! site, forced or not, deletions, names only, sources of truth, changes, and repositories that cannot say.
//!
//! The host's floor alone would hold back the same refs, so what is compared is the reason: what a person reads must not
//! depend on who says it first.

mod native;
#[path = "every_state/states.rs"]
mod states;
#[path = "every_state/world.rs"]
mod world;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use refgate_core::decision::{Decision, HOST};
use refgate_core::future::ready;
use refgate_core::{
    Answer, BoxFuture, Direction, Enforcement, FilterError, FilterSet, Held, Move, Reason, RefBatch,
    RefFilter, RefName, Rules, SiteKind, state,
};
use refgate_host::Config;
use refgate_host::filters::Source;

use states::{changes, single};
use world::{L, Ref, Setting, State, World};

/// Refs of one decision: so few that a busy machine serves a filter in time.
const REFS: usize = 16_384;

/// Asks for the reload where it may help and leaves every reason to the host.
struct Asks;

impl RefFilter for Asks {
    fn name(&self) -> &str {
        "asks"
    }

    fn look(&self, batch: Arc<RefBatch>) -> BoxFuture<'_, Result<Answer, FilterError>> {
        let rechecks = batch.select(state::RECHECK_HELPS, state::RECHECK_HELPS);
        ready(Ok(Answer { rechecks, ..Answer::default() }))
    }
}

/// The table alone, and the shipped filters twice: as plain Rust and as the components that are embedded.
struct Chains {
    table: FilterSet,
    shipped: [(&'static str, FilterSet); 2],
}

impl Chains {
    fn new() -> Chains {
        let asks: Vec<Arc<dyn RefFilter>> = vec![Arc::new(Asks)];
        let config = Config::from_items(&[], ".".as_ref()).unwrap();
        let components = native::loader().load_from(&Source::Shipped, &config).unwrap();
        Chains {
            table: FilterSet { push: asks.clone(), fetch: asks, ..FilterSet::default() },
            shipped: [("plain Rust", native::filters(&[]).unwrap()), ("component", components)],
        }
    }

    /// Every chain says the same of `refs`. Counts what was said, by reason.
    async fn agree(
        &self,
        setting: Setting,
        rules: &Rules,
        refs: &[Ref],
        others: &HashMap<RefName, [world::G; 2]>,
        counts: &mut BTreeMap<String, usize>,
    ) {
        let world = World::new(setting, refs, others);
        let table = world.decide(rules, &self.table).await;
        for (one, judged) in refs.iter().zip(table.moves.iter()) {
            never_something_else(setting.direction, one, judged);
            let said = judged.reason().map_or("keep".to_owned(), Reason::to_string);
            *counts.entry(said).or_default() += 1;
        }
        for (kind, filters) in &self.shipped {
            let shipped = world.decide(rules, filters).await;
            same(setting, kind, refs, &table, &shipped);
        }
    }
}

/// Verdict, reason, value and look are the same; and the filter says it itself, but where no bit of the state names the cause.
fn same(setting: Setting, kind: &str, refs: &[Ref], table: &Decision, shipped: &Decision) {
    assert_eq!((&table.problems, &table.waits), (&shipped.problems, &shipped.waits), "{kind}, {setting:?}");
    for (one, (table, shipped)) in refs.iter().zip(table.moves.iter().zip(shipped.moves.iter())) {
        let told = |one: Move<'_>| {
            let reason = one.reason().map(Reason::to_string);
            (reason, one.new(), one.old(), one.is_reloaded(), one.hint().map(str::to_owned))
        };
        assert_eq!(told(table), told(shipped), "{kind}, {setting:?}, {one:?}");
        // The rest is the host's own business: what it could not read, remotes that keep dead refs, and changes.
        let left_to_the_host = |reason: &Reason| match reason {
            Reason::RepositoryUnreadable => true,
            Reason::UntrackedDeletion => !setting.mirror,
            _ => one.name.as_bytes().starts_with(b"refs/changes/"),
        };
        if let Some(Held { reason, by, .. }) = shipped.held() {
            assert!(**by != *HOST || left_to_the_host(reason), "{kind}, {setting:?}, {one:?}: {reason}");
        }
    }
}

/// A deletion never becomes an update, nor an update a deletion; and what turned into the other is held back, not final.
fn never_something_else(direction: Direction, one: &Ref, judged: Move<'_>) {
    let state = &one.state;
    let (deletion, source) = match direction {
        Direction::Push => (state.offered.is_none(), state.local[1]),
        Direction::Fetch => (state.remote == Some(None), state.remote_after.map_or(L::Absent, L::At)),
    };
    assert_eq!(judged.is_deletion(), deletion, "{one:?}");
    assert!(!deletion || judged.new().is_none(), "{one:?}");
    // Names alone say nothing of values.
    if direction == Direction::Fetch && state.remote.is_none() {
        return;
    }
    let Some(reason) = judged.reason() else {
        return assert_eq!(judged.new().is_none(), deletion, "{one:?}");
    };
    // What was offered at the first look may be there already, and a deleted change takes everything with it.
    let of_a_change = one.name.as_bytes().starts_with(b"refs/changes/");
    if !judged.is_reloaded() || *reason == Reason::RepositoryUnreadable || of_a_change {
        return;
    }
    match (deletion, source, direction) {
        (true, L::At(_), ..) => assert_eq!(*reason, Reason::NotUpToDate, "{one:?}"),
        (false, L::Absent, Direction::Push) => assert_eq!(*reason, Reason::LocalRefMissing, "{one:?}"),
        (false, L::Absent, Direction::Fetch) => assert_eq!(*reason, Reason::NotUpToDate, "{one:?}"),
        _ => {}
    }
}

/// Gated sites, pure mirrors, ungated ones, and a remote that gets no deletions; on fetch from sources of truth, too.
fn settings(direction: Direction) -> Vec<Setting> {
    let kinds = [
        (SiteKind::Gated, true),
        (SiteKind::Mirror, true),
        (SiteKind::Ungated, true),
        (SiteKind::Gated, false),
    ];
    let truths: &[bool] = if direction == Direction::Fetch { &[false, true] } else { &[false] };
    let all = kinds.into_iter().flat_map(|kind| truths.iter().map(move |truth| (kind, *truth)));
    all.map(|((kind, mirror), source_of_truth)| Setting {
        direction,
        kind,
        mirror,
        source_of_truth,
        history_fails: None,
    })
    .collect()
}

/// The same where one question about history after the other gets no answer: two may be asked at each look.
fn broken(direction: Direction) -> Vec<Setting> {
    let gated = settings(direction).into_iter().filter(|s| s.kind == SiteKind::Gated && s.mirror);
    gated.flat_map(|s| (0..4).map(move |at| Setting { history_fails: Some(at), ..s })).collect()
}

async fn singles(
    settings: &[Setting],
    name: impl Fn(usize) -> String,
    rules: &Rules,
) -> BTreeMap<String, usize> {
    let chains = Chains::new();
    let states = single(settings[0].direction);
    let named = |(i, state): (usize, State)| Ref { name: RefName::new(name(i)).unwrap(), state };
    let refs: Vec<Ref> = states.into_iter().enumerate().map(named).collect();
    let mut counts = BTreeMap::new();
    for setting in settings {
        for refs in refs.chunks(REFS) {
            chains.agree(*setting, rules, refs, &HashMap::new(), &mut counts).await;
        }
    }
    counts
}

fn has(counts: &BTreeMap<String, usize>, reasons: &[&str]) {
    let said: Vec<&str> = counts.keys().map(String::as_str).collect();
    assert_eq!(said, reasons, "{counts:?}");
}

const PUSH: [&str; 9] = [
    "already-up-to-date",
    "keep",
    "local-ref-missing",
    "locked",
    "non-fast-forward",
    "not-up-to-date",
    "refdb-unavailable",
    "remote-diverged",
    "repository-unreadable",
];

#[tokio::test]
async fn branches_and_tags_on_push() {
    let rules = Rules::default();
    for tree in ["heads", "tags"] {
        let counts = singles(&settings(Direction::Push), |i| format!("refs/{tree}/{i}"), &rules).await;
        has(&counts, &[&PUSH[..], &["untracked-deletion"]].concat());
    }
}

#[tokio::test]
async fn branches_and_tags_on_fetch() {
    let rules = Rules::default();
    for tree in ["heads", "tags"] {
        let counts = singles(&settings(Direction::Fetch), |i| format!("refs/{tree}/{i}"), &rules).await;
        has(
            &counts,
            &[
                "already-up-to-date",
                "deleted-globally",
                "keep",
                "local-diverged",
                "locked",
                "non-fast-forward",
                "not-up-to-date",
                "refdb-unavailable",
                "repository-unreadable",
                "untracked-deletion",
            ],
        );
    }
}

#[tokio::test]
async fn a_history_that_cannot_be_read() {
    for direction in [Direction::Push, Direction::Fetch] {
        let settings = broken(direction);
        let counts = singles(&settings, |i| format!("refs/heads/{i}"), &Rules::default()).await;
        let whole = singles(&settings[..1], |i| format!("refs/heads/{i}"), &Rules::default()).await;
        assert!(whole["repository-unreadable"] > 1_000 && counts["keep"] > 1_000, "{counts:?}");
    }
}

#[tokio::test]
async fn refs_that_are_not_checked() {
    let ignored = Rules::new([(Enforcement::Ignored, "p")]).unwrap();
    for direction in [Direction::Push, Direction::Fetch] {
        // Who writes there makes no difference to them.
        let settings = &settings(direction)[..2];
        let counts = singles(settings, |i| format!("refs/heads/{i}"), &ignored).await;
        assert!(!counts.contains_key("not-up-to-date") && counts["keep"] > 1_000, "{counts:?}");
        for tree in ["refs/cache-automerge/", "refs/refgate/", "refs/stash-"] {
            let counts = singles(settings, |i| format!("{tree}{i}"), &Rules::default()).await;
            assert!(!counts.contains_key("refdb-unavailable") && counts["keep"] > 1_000, "{counts:?}");
        }
    }
}

#[tokio::test]
async fn the_version_ref() {
    let (chains, rules, others) = (Chains::new(), Rules::default(), HashMap::new());
    for direction in [Direction::Push, Direction::Fetch] {
        let mut counts = BTreeMap::new();
        for state in single(direction) {
            let one_look = state.local[0] == state.local[1] && state.global[0] == state.global[1];
            if one_look && !state.superseded && state.history == world::History::Apart {
                let refs = [Ref { name: RefName::new("refs/multi-site/version").unwrap(), state }];
                chains.agree(settings(direction)[0], &rules, &refs, &others, &mut counts).await;
            }
        }
        has(&counts, &["keep", "repository-unreadable"]);
    }
}

#[tokio::test]
async fn changes_with_all_their_refs() {
    let (chains, rules) = (Chains::new(), Rules::default());
    for direction in [Direction::Push, Direction::Fetch] {
        let all = changes(direction);
        let settings = settings(direction).into_iter().filter(|s| s.mirror && !s.source_of_truth);
        for setting in settings.filter(|s| s.kind != SiteKind::Mirror) {
            let mut counts = BTreeMap::new();
            for some in all.chunks(REFS / 3) {
                let refs: Vec<Ref> = some.iter().flat_map(|(refs, _)| refs.clone()).collect();
                let others = some.iter().flat_map(|(_, others)| others.clone()).collect();
                chains.agree(setting, &rules, &refs, &others, &mut counts).await;
            }
            for reason in ["deleted-globally", "group-incomplete", "keep", "not-up-to-date", "outdated-meta"]
            {
                assert!(counts.get(reason).is_some_and(|n| *n > 100), "{reason}: {counts:?}");
            }
        }
    }
}
