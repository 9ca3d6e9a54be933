//! Lets nothing through in given windows of time: weekends, holidays, the night of a release.
//!
//! A window is weekly, `Fri 18:00 - Mon 06:00`, or once, `2026-12-24 00:00 - 2026-12-27 00:00`. Times are in UTC, or at the
//! fixed distance that `offset` says; there is no time zone, so nothing shifts with daylight saving. `ref` are globs of the
//! refs that are frozen, all by default.

mod window;

use jiff::tz::Offset;
use refgate_guest::{
    Batch, Glob, Problem, Problems, RefFilter, Verdicts, clock, export_push_and_fetch_filter,
};
use serde::Deserialize;

pub use window::Window;

/// Why a ref is discarded.
pub const REASON: &str = "frozen";

/// The settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// When nothing goes.
    pub window: Vec<String>,
    /// The distance of these times from UTC, `+01:00`; none is UTC.
    pub offset: Option<String>,
    /// Globs of the refs that are frozen; none is all.
    #[serde(default, rename = "ref")]
    pub refs: Vec<Glob>,
}

/// The filter.
pub struct Freeze {
    windows: Vec<Window>,
    offset: Offset,
    /// None is all.
    refs: Vec<Glob>,
}

impl RefFilter for Freeze {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Problems> {
        let (mut windows, mut problems) = (Vec::new(), Vec::new());
        for (i, text) in settings.window.iter().enumerate() {
            match Window::parse(text) {
                Ok(window) => windows.push(window),
                Err(why) => problems.push(Problem::at("window", i, format!("`{text}`: {why}"))),
            }
        }
        let offset = settings.offset.as_deref().map_or(Ok(Offset::UTC), window::offset);
        let offset = offset.unwrap_or_else(|why| {
            problems.push(Problem::new("offset", why));
            Offset::UTC
        });
        if !problems.is_empty() {
            return Err(problems.into());
        }
        Ok(Freeze { windows, offset, refs: settings.refs })
    }

    fn filter(&self, batch: &Batch, verdicts: &mut Verdicts) -> Result<(), String> {
        let now = window::local(clock::now_ms(), self.offset)?;
        if !self.windows.iter().any(|window| window.contains(now)) {
            return Ok(());
        }
        if self.refs.is_empty() {
            verdicts.discard_all(REASON);
            return Ok(());
        }
        let frozen = batch.refs().filter(|r| self.refs.iter().any(|glob| glob.matches(r.name())));
        verdicts.discard(frozen.map(|r| r.index()).collect::<Vec<_>>(), REASON);
        Ok(())
    }
}

export_push_and_fetch_filter!(Freeze);

#[cfg(test)]
mod tests {
    use super::*;
    use refgate_guest::state::MAY_GO;
    use refgate_guest::testing::{TestBatch, at, run_fetch, run_push, settings};

    /// Which of main and a tag are frozen at a time in UTC.
    fn frozen(json: &str, now: &str) -> [bool; 2] {
        let filter = settings(json).and_then(Freeze::new).unwrap();
        let now: jiff::Timestamp = now.parse().unwrap();
        let batch = TestBatch::push("app").with("refs/heads/main", MAY_GO).with("refs/tags/v1", MAY_GO);
        let both = || (run_push(&filter, &batch).unwrap(), run_fetch(&filter, &batch).unwrap());
        let (push, fetch) = at(now.as_millisecond() as u64, both);
        assert_eq!(push, fetch, "both directions say the same");
        [0, 1].map(|i| push.reason(i) == Some(REASON))
    }

    #[test]
    fn a_weekly_window_goes_over_the_end_of_the_week() {
        let json = r#"{"window":"Fri 18:00 - Mon 06:00"}"#;
        for (now, within) in [
            ("2026-12-18T17:59:59.999Z", false),
            ("2026-12-18T18:00:00Z", true),
            ("2026-12-21T05:59:59.999Z", true),
            ("2026-12-21T06:00:00Z", false),
        ] {
            assert_eq!(frozen(json, now), [within; 2], "{now}");
            assert_eq!(frozen(r#"{"window":"mon 06:00 - fri 18:00"}"#, now), [!within; 2], "{now}");
        }
    }

    #[test]
    fn dates_refs_and_the_distance_from_utc() {
        let json = r#"{"window":["Tue 01:00 - Tue 02:00","2026-12-24 00:00 - 2026-12-27 00:00"],
                       "offset":"+01:30","ref":["refs/heads/*"]}"#;
        for (now, within) in [
            ("2026-12-23T22:29:59Z", false),
            ("2026-12-23T22:30:00Z", true),
            ("2026-12-26T22:29:59Z", true),
            ("2026-12-26T22:30:00Z", false),
            ("2026-12-28T23:30:00Z", true),
            ("2026-12-29T00:30:00Z", false),
        ] {
            assert_eq!(frozen(json, now), [within, false], "{now}");
        }
        let west = r#"{"window":"2026-12-24 00:00 - 2026-12-24 01:00","offset":"-03:30"}"#;
        assert_eq!(frozen(west, "2026-12-24T03:30:00Z"), [true; 2]);
    }

    #[test]
    fn everything_that_is_wrong_is_named() {
        let windows = [
            ("Fri 18:00", "write `FROM - TO`"),
            ("Fri 18:00 - Fri 18:00", "it ends where it begins"),
            ("Fri 18:00 - 2026-12-27 00:00", "both ends have a day"),
            ("Fri 18 - Mon 6:00", "`18` is not a time like"),
            ("Sat 24:00 - Sun 01:00", "`24:00` is not a time like"),
            ("2026-02-30 00:00 - 2026-03-01 00:00", "`2026-02-30 00:00` is neither like"),
            ("2026-03-01 00:00 - 2026-02-01 00:00", "it ends before it begins"),
        ];
        let window = windows.iter().map(|(text, _)| text.to_string()).collect();
        let settings = Settings { window, offset: Some("CET".into()), refs: Vec::new() };
        let Problems(problems) = Freeze::new(settings).err().unwrap();
        for (problem, (text, why)) in problems.iter().zip(windows) {
            assert!(problem.message.starts_with(&format!("`{text}`: {why}")), "{problem}");
        }
        assert_eq!(problems.len(), 8);
        assert_eq!(problems[7].to_string(), "/offset: `CET` is not an offset from UTC like `+01:00`");
    }
}
