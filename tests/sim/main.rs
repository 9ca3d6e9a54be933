//! A seeded simulation of two to five sites that write and replicate at once, are killed, and lose answers.
//!
//! What decides is the product: `decide` with the floor on, both shipped filters as components, the tables, the group
//! rule, and the memory ref-db. Everything around it is a model: commits are numbers in a graph with merges, a
//! repository is a row of refs and a set of objects, and sessions and gated writes are futures that stop after every
//! step, so that a scheduler with a seeded rng can put any other step in between or drop them, which is a crash. The two
//! looks of a decision are such steps, too.
//!
//! - `REFGATE_SIM_SEEDS=n`: how many seeds of each family are tried.
//! - `REFGATE_SIM_SEED=n`: this one alone, with its trace. Choose the family by choosing the test, and a rule that is
//!   off by choosing its test in [`ablations`].
//! - `seeds.txt`: seeds that found something. They come first.
//!
//! # Properties
//!
//! | name | what holds | looked at |
//! |---|---|---|
//! | P1 | a commit whose client was told success is in some site's ref or in the ref-db, until an accepted write that had seen it replaces it | after every step |
//! | P2 | the ref-db moves back only by a client's write | at every move |
//! | P3 | what replication sets a tracked ref to is what the ref-db held at the last look | at every update |
//! | P4, P5 | after quiet rounds all gated sites and mirrors hold what the ref-db holds, whatever the start; a value that nothing accounts for stays where it is, and that takes an ungated write or an unseeded start | at the end |
//! | P7 | what was deleted or replaced does not come back | at the end |
//! | C1 | a site that shows a `/meta` has the patch sets that it names | after every step |
//! | C2 | every patch set is everywhere, and the same | at the end |
//! | D1 | nothing of a deleted change is left | at the end |
//! | H1 | what a fetch filter of a site holds back moves there neither by a fetch nor by catch-up, unless a record says that it was accepted there | at every update |
//!
//! # Rules
//!
//! [`ablations`] takes each rule away and says which property breaks in which family. In all families here the rest
//! makes up for these:
//!
//! | rule | why nothing breaks without it |
//! |---|---|
//! | one session per project and remote | a decision that was overtaken is taken again in the closing rounds; the rule matters to who replicates by events alone |
//! | the receiver's check and the local lock | redundant given catch-up; the family `late` does without that |
//! | the whole-record replay, for branches | catch-up finds them by the ref-db; it matters to changes |
//! | the group rule, among gated sites | no losing patch set ever exists there; it matters beside ungated ones |
//!
//! Three rules were found here and then built: `ReloadedMeta`, `CatchUpChange` and `ListedObjects`. Without them a property
//! breaks, and their tests show how. Of the rules for forgetting, the product keeps `ForgetWriters` by its second look a
//! day later; an entry that is made anew and deleted again in between looks the same to it (`ForgetOnce`).
//!
//! # Not in the model
//!
//! Listings are snapshots, local transactions are atomic across refs, objects are never collected, the ref-db never
//! loses what it has, and there is one project with one change of three patch sets.

mod ablations;
mod catch_up;
mod clients;
mod close;
mod config;
mod dag;
mod forget;
mod holds;
mod ledger;
mod look;
mod refdb;
mod refs;
mod replicate;
mod run;
mod search;
mod task;
mod world;
mod write;
