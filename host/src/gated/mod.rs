//! Gated writes: the writes of this site's own clients go through the ref-db first, then to the local refs.
//!
//! What a write is about to do stands in a record ([`journal`]) before the ref-db moves, so that a write whose process
//! died is finished by the next catch-up.

pub mod journal;

pub use journal::{Journal, Record, RecordedRef};
