//! A push filter that keeps work in progress at home: no branch below `refs/heads/wip/` leaves the site.

use refgate_guest::{Batch, NoSettings, Problems, PushFilter, Verdicts, export_push_filter};

/// The filter; it has no settings.
pub struct Wip;

impl PushFilter for Wip {
    type Settings = NoSettings;

    fn new(_settings: NoSettings) -> Result<Self, Problems> {
        Ok(Wip)
    }

    fn filter(&self, batch: &Batch, verdicts: &mut Verdicts) -> Result<(), String> {
        verdicts.discard(batch.select_prefix(b"refs/heads/wip/"), "work-in-progress");
        Ok(())
    }
}

export_push_filter!(Wip);

#[cfg(test)]
mod tests {
    use super::*;
    use refgate_guest::state::MAY_GO;
    use refgate_guest::testing::{TestBatch, run_push};

    #[test]
    fn work_in_progress_stays() {
        let batch = TestBatch::push("team/app")
            .with("refs/heads/main", MAY_GO)
            .with("refs/heads/wip/login", MAY_GO)
            .with("refs/heads/wipe", MAY_GO);
        let answer = run_push(&Wip, &batch).unwrap();
        assert_eq!(answer.reason(0), None);
        assert_eq!(answer.reason(1), Some("work-in-progress"));
        assert_eq!(answer.reason(2), None);
    }
}
