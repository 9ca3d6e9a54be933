//! What a run is made of: sites, refs at the start, operations, faults; and the rules that can be switched off.

use refgate_core::SiteKind;

use crate::refs::{DEV, MAIN, Ref};

/// A rule of the protocol. Each can be taken away alone, to show what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Push: a tracked value is overwritten only if it is accounted for.
    AccountedPush,
    /// Fetch: the same of the local value.
    AccountedFetch,
    /// An untracked ref is only created or fast-forwarded.
    FastForward,
    /// Superseded values count as accounted.
    Superseded,
    /// They do not at an ungated site.
    UngatedSites,
    /// Only what is up to date goes (the floor and the filters).
    UpToDate,
    /// Only what the ref-db records as deleted is deleted.
    DeletionCheck,
    /// A fetch sets the value that was judged.
    PinnedFetch,
    /// Catch-up.
    CatchUp,
    /// A gated write moves the ref-db before the local ref.
    RefDbFirst,
    /// A gated write that fails half-way is rolled forward, never back.
    ForwardOnly,
    /// Who applies a replicated update takes the local locks and reads the ref-db again.
    Receiver,
    /// Updates carry the expected old value.
    ExpectedOld,
    /// Patch sets before `/meta` on push, all in one transaction on fetch.
    GroupOrder,
    /// A `/meta` that is held back holds back its patch sets, and the other way round.
    WholeChange,
    /// A change whose `/meta` is recorded as deleted is deleted whole, and nothing of it is created.
    DeletedChange,
    /// A patch set is created and never changed.
    PatchSetsStay,
    /// The record of a write stays for as long as its compare-and-put may still come.
    LateRecord,
    /// A `/meta` that only got its value at the reload waits for the next session: nobody offered its patch sets.
    ReloadedMeta,
    /// Catch-up leaves a `/meta` to its record, or to replication, which bring its patch sets along.
    CatchUpChange,
    /// A fetch also brings the superseded values that the ref-db lists: only there it shows what their ancestors are.
    ListedObjects,
    /// The record of a write is replayed whole.
    WholeRecord,
    /// A record of a deletion is forgotten only when all sites and all old sessions are past it.
    Forget,
    /// Who ran at the deletion, a writer above all, has ended before the sites are listed.
    ForgetWriters,
    /// What is forgotten is the very record that was looked at, not one that was made anew with the same content.
    ForgetOnce,
    /// Catch-up asks the filters of its site, as a fetch does.
    Policies,
    /// At most one session per project and remote.
    OneSession,
    /// A gated write to an existing ref that the ref-db does not know is refused.
    RefuseUntracked,
    /// What comes under the mark of replication, and the ref-db does not know, is a client's write.
    MarkedPut,
}

/// All of them.
pub const RULES: &[Rule] = &[
    Rule::AccountedPush,
    Rule::AccountedFetch,
    Rule::FastForward,
    Rule::Superseded,
    Rule::UngatedSites,
    Rule::UpToDate,
    Rule::DeletionCheck,
    Rule::PinnedFetch,
    Rule::CatchUp,
    Rule::RefDbFirst,
    Rule::ForwardOnly,
    Rule::Receiver,
    Rule::ExpectedOld,
    Rule::GroupOrder,
    Rule::WholeChange,
    Rule::DeletedChange,
    Rule::PatchSetsStay,
    Rule::LateRecord,
    Rule::ReloadedMeta,
    Rule::CatchUpChange,
    Rule::ListedObjects,
    Rule::WholeRecord,
    Rule::Forget,
    Rule::ForgetWriters,
    Rule::ForgetOnce,
    Rule::Policies,
    Rule::OneSession,
    Rule::RefuseUntracked,
    Rule::MarkedPut,
];

/// What one operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A child commit on a branch.
    Child,
    /// A merge of another branch.
    Merge,
    /// A new branch.
    Create,
    /// A sibling of the tip in its place.
    Amend,
    /// Back to any older commit that is here.
    Reset,
    /// The branch goes.
    Delete,
    /// A deleted branch comes back with an old commit.
    Recreate,
    /// A patch set with its `/meta`.
    Upload,
    /// The `/meta` goes with all patch sets that are here.
    DeleteChange,
    /// Both plain branches in one atomic push.
    Atomic,
    /// A child or another forced value on the ignored branch.
    Scratch,
    /// A client pushes with the mark of replication.
    Forge,
    /// An operator seeds the ref-db from a site.
    Seed,
    /// An operator forgets the records of deletions.
    Forget,
}

/// How a ref is at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The same commit everywhere, and tracked.
    Tracked,
    /// Nowhere, and never heard of.
    Nothing,
    /// Nowhere, and recorded as deleted.
    Deleted,
    /// The same commit everywhere, and not tracked.
    Equal,
    /// Different values, and not tracked.
    Different,
}

/// A family of runs; a seed chooses one of them.
#[derive(Clone, Debug)]
pub struct Config {
    /// For messages, seeds and environment variables.
    pub name: &'static str,
    /// Fewest and most sites.
    pub sites: (usize, usize),
    /// What the sites after the first may be; the first is gated.
    pub kinds: &'static [SiteKind],
    /// Local locks and the receiver's check. Without them only expected old values protect a ref.
    pub locked: bool,
    /// Possible starts of the branches.
    pub starts: &'static [Start],
    /// Branches that clients write.
    pub branches: &'static [Ref],
    /// Operations with their weights.
    pub mix: &'static [(Op, u32)],
    /// Fewest and most operations.
    pub ops: (u32, u32),
    /// Fewest and most replication sessions before the closing rounds.
    pub sessions: (u32, u32),
    /// Most crashes.
    pub crashes: u32,
    /// Answers of the ref-db get lost, it is down at times, and local updates fail.
    pub faults: bool,
    /// Sites push.
    pub push: bool,
    /// Sites fetch.
    pub fetch: bool,
    /// Sites have fetch filters that hold back refs of their choice.
    pub policies: bool,
    /// Rules that are off in all runs, to see what another rule is for when they cannot help.
    pub without: &'static [Rule],
}

const GATED: &[SiteKind] = &[SiteKind::Gated];
const SEEDED: &[Start] = &[Start::Tracked, Start::Tracked, Start::Nothing, Start::Deleted, Start::Equal];

const ALL_OPS: &[(Op, u32)] = &[
    (Op::Child, 4),
    (Op::Merge, 2),
    (Op::Create, 2),
    (Op::Amend, 3),
    (Op::Reset, 3),
    (Op::Delete, 3),
    (Op::Recreate, 2),
    (Op::Upload, 4),
    (Op::Atomic, 2),
    (Op::Scratch, 2),
    (Op::Seed, 1),
];

const FORCED: &[(Op, u32)] =
    &[(Op::Child, 2), (Op::Amend, 3), (Op::Reset, 3), (Op::Delete, 1), (Op::Recreate, 1)];

const LATE: &[(Op, u32)] = &[(Op::Child, 2), (Op::Reset, 2)];

/// All gated, everything may happen.
pub const BASE: Config = Config {
    name: "gated",
    sites: (2, 3),
    kinds: GATED,
    locked: true,
    starts: SEEDED,
    branches: &[MAIN, MAIN, DEV],
    mix: ALL_OPS,
    ops: (3, 10),
    sessions: (2, 10),
    crashes: 2,
    faults: true,
    push: true,
    fetch: true,
    policies: false,
    without: &[],
};

/// Every family. Everything holds in each of them with all rules on; the last ones show what one rule is for.
pub const CONFIGS: &[Config] = &[
    BASE,
    Config { name: "unlocked", locked: false, ..BASE },
    Config { name: "wide", sites: (4, 5), ..BASE },
    Config { name: "push-only", fetch: false, ..BASE },
    Config { name: "fetch-only", push: false, ..BASE },
    Config { name: "mirrors", kinds: &[SiteKind::Mirror, SiteKind::Gated], ..BASE },
    Config { name: "ungated", kinds: &[SiteKind::Ungated, SiteKind::Gated], ..BASE },
    Config {
        name: "mixed",
        sites: (3, 4),
        kinds: &[SiteKind::Ungated, SiteKind::Gated, SiteKind::Mirror],
        ..BASE
    },
    Config { name: "unseeded", starts: &[Start::Different, Start::Tracked], ..BASE },
    Config { name: "changes", mix: &[(Op::Upload, 6), (Op::Child, 1)], ops: (2, 6), ..BASE },
    Config { name: "changes-unlocked", mix: &[(Op::Upload, 1)], ops: (2, 6), locked: false, ..BASE },
    Config {
        name: "forget",
        starts: &[Start::Tracked],
        mix: &[(Op::Delete, 4), (Op::Forget, 4), (Op::Recreate, 1), (Op::Child, 1)],
        ..BASE
    },
    Config { name: "forced", mix: FORCED, starts: &[Start::Tracked], ..BASE },
    Config { name: "no-catch-up", without: &[Rule::CatchUp], crashes: 0, faults: false, ..BASE },
    Config {
        name: "bare",
        locked: false,
        mix: FORCED,
        starts: &[Start::Tracked],
        without: &[Rule::WholeRecord],
        ..BASE
    },
    Config {
        name: "late",
        mix: LATE,
        starts: &[Start::Tracked],
        ops: (2, 4),
        sessions: (2, 6),
        fetch: false,
        crashes: 0,
        faults: false,
        without: &[Rule::CatchUp, Rule::OneSession],
        ..BASE
    },
    Config {
        name: "forget-again",
        sites: (2, 2),
        starts: &[Start::Tracked],
        branches: &[MAIN],
        mix: &[(Op::Delete, 4), (Op::Forget, 3), (Op::Recreate, 3)],
        ops: (4, 9),
        sessions: (1, 4),
        crashes: 0,
        faults: false,
        ..BASE
    },
    Config {
        name: "deleted-changes",
        sites: (2, 4),
        kinds: &[SiteKind::Gated, SiteKind::Gated, SiteKind::Mirror],
        mix: &[(Op::Upload, 5), (Op::DeleteChange, 3), (Op::Child, 1)],
        ops: (2, 7),
        sessions: (2, 12),
        ..BASE
    },
    Config {
        name: "policies",
        policies: true,
        mix: &[(Op::Child, 4), (Op::Reset, 2), (Op::Delete, 2), (Op::Upload, 3), (Op::DeleteChange, 1)],
        sessions: (2, 12),
        ..BASE
    },
    Config {
        name: "marked",
        starts: &[Start::Nothing, Start::Nothing, Start::Tracked, Start::Deleted],
        mix: &[(Op::Forge, 5), (Op::Create, 3), (Op::Child, 3), (Op::Delete, 1), (Op::Atomic, 1)],
        ..BASE
    },
];

/// The family of that name.
pub fn config(name: &str) -> &'static Config {
    CONFIGS.iter().find(|c| c.name == name).unwrap_or_else(|| panic!("no configuration `{name}`"))
}
