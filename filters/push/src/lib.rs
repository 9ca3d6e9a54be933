//! The push filter that ships with refgate: holds back what could overwrite newer work.
//!
//! The host has worked the tables out already and says so in the state of every ref. This filter turns the state of a ref
//! that may not go as it stands into a verdict; refs that may go are never even read.

mod decide;

use refgate_guest::{Batch, NoSettings, Problems, PushFilter, Verdicts, export_push_filter};

pub use decide::{Answer, decide};

/// The filter; it has no settings.
pub struct Push;

impl PushFilter for Push {
    type Settings = NoSettings;

    fn new(_settings: NoSettings) -> Result<Self, Problems> {
        Ok(Push)
    }

    fn filter(&self, batch: &Batch, verdicts: &mut Verdicts) -> Result<(), String> {
        let attempt = batch.attempt();
        for r in batch.refs_at(batch.stale()) {
            match decide(r.state(), attempt) {
                Some(Answer::Recheck) => verdicts.recheck([r.index()]),
                Some(Answer::Discard(reason)) => verdicts.discard([r.index()], reason),
                None => {}
            }
        }
        Ok(())
    }
}

export_push_filter!(Push);
