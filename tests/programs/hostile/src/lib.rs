//! A push filter that does whatever wrong its setting asks for. For tests of the host only.

use std::hint::black_box;

use refgate_guest::{Batch, Problem, Problems, PushFilter, Verdicts, clock, export_push_filter, log};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
enum Deed {
    /// Never starts.
    LoopInConfigure,
    /// Panics while it starts.
    PanicInConfigure,
    /// Refuses its settings.
    Refuse,
    /// Never answers.
    Loop,
    /// Recurses without end.
    Recurse,
    /// Takes memory until there is none.
    Hog,
    /// Names a ref after the last one.
    IndexOutside,
    /// Asks for the name of a ref after the last one.
    NameOutside,
    /// Asks for one name a hundred thousand times, again and again.
    ManyNames,
    /// Asks for the number of the look without end.
    HostCallStorm,
    /// Names one ref without end.
    IndexFlood,
    /// Gives a reason of 65 bytes.
    LongReason,
    /// Gives a reason that is not kebab-case.
    OddReason,
    /// Gives a reason per ref, for a thousand refs.
    ManyReasons,
    /// Logs without end.
    LogFlood,
    /// Panics on every look but the second.
    Panic,
    /// Panics on the second look only.
    PanicOnSecondLook,
    /// Returns an error that sets the title of a terminal and has a second line.
    Error,
    /// Discards and rechecks the same ref.
    Both,
    /// Gives a reason that only the host's table may give.
    FinalReason,
    /// Reads every column and holds back refs by what they say.
    ReadAll,
    /// Counts its calls and says so as a reason.
    Count,
    /// Asks for the time while it starts.
    TimeInConfigure,
    /// Says the time as a reason.
    Time,
    /// Keeps everything.
    KeepAll,
}

/// The settings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    deed: Deed,
}

/// The filter.
pub struct Hostile {
    deed: Deed,
    calls: std::cell::Cell<u32>,
}

impl PushFilter for Hostile {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Problems> {
        match settings.deed {
            Deed::LoopInConfigure => spin(),
            Deed::PanicInConfigure => panic!("no start today"),
            Deed::Refuse => {
                let problems =
                    [Problem::new("deed", "is refused"), Problem::at("deed", 1, "is\nrefused too")];
                Err(problems.to_vec().into())
            }
            Deed::TimeInConfigure => panic!("it is {}", clock::now_ms()),
            deed => Ok(Hostile { deed, calls: Default::default() }),
        }
    }

    fn filter(&self, batch: &Batch, verdicts: &mut Verdicts) -> Result<(), String> {
        if batch.attempt() == 1 && !matches!(self.deed, Deed::PanicOnSecondLook | Deed::Both) {
            // Whatever happened at the first look, the next one is fine.
            return Ok(());
        }
        match self.deed {
            Deed::Loop => spin(),
            Deed::Recurse => verdicts.recheck([recurse(1) as u32 % 2]),
            Deed::Hog => hog(),
            Deed::IndexOutside => verdicts.discard([0, batch.len()], "odd"),
            Deed::NameOutside => verdicts.recheck(batch.names_at(&[batch.len()]).ends),
            Deed::ManyNames => loop {
                black_box(batch.names_at(&[0; 100_000]));
            },
            Deed::HostCallStorm => loop {
                black_box(batch.attempt());
            },
            Deed::Panic => panic!("the first look"),
            Deed::IndexFlood => verdicts.recheck(std::iter::repeat_n(0, 1_000_000)),
            Deed::LongReason => verdicts.discard([0], &"r".repeat(65)),
            Deed::OddReason => verdicts.discard([0], "Not Kebab\n"),
            Deed::ManyReasons => {
                (0..1000).for_each(|i| verdicts.discard([i % batch.len()], &format!("r{i}")))
            }
            Deed::LogFlood => {
                (0..100_000).for_each(|i| log::write(log::Level::Info, &format!("line {i}\nforged")))
            }
            Deed::PanicOnSecondLook => assert_eq!(batch.attempt(), 0, "the second look"),
            Deed::Error => return Err("nothing works\u{1b}]0;PWNED\u{7}\nforged: line\u{202e}".to_owned()),
            Deed::Both => {
                verdicts.recheck([0, 1]);
                verdicts.discard([0], "both");
            }
            Deed::FinalReason => verdicts.discard([0], "already-up-to-date"),
            Deed::ReadAll => read_all(batch, verdicts),
            Deed::Count => {
                self.calls.set(self.calls.get() + 1);
                verdicts.discard_all(&format!("call-{}", self.calls.get()));
            }
            Deed::Time => verdicts.discard_all(&format!("t-{}", clock::now_ms())),
            Deed::KeepAll
            | Deed::LoopInConfigure
            | Deed::PanicInConfigure
            | Deed::TimeInConfigure
            | Deed::Refuse => {}
        }
        Ok(())
    }
}

fn spin() -> ! {
    let mut turns = 0u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

fn recurse(depth: u64) -> u64 {
    let deeper = black_box(depth + 1);
    if deeper == 0 { 0 } else { recurse(deeper) + black_box(depth) }
}

fn hog() {
    let mut taken = Vec::new();
    loop {
        taken.push(black_box(vec![1u8; 1 << 20]));
    }
}

/// Every column of every ref: a ref is discarded under the number of the first column that is not as the test made it.
fn read_all(batch: &Batch, verdicts: &mut Verdicts) {
    for r in batch.refs() {
        let i = r.index();
        let low = [(i % 251) as u8 + 1];
        let starts = |oid: Option<&[u8]>| oid.map(|oid| oid[0]) == Some(low[0]);
        let wrong = [
            r.name() != format!("refs/heads/{i}").as_bytes(),
            r.state() != i,
            !starts(r.new_oid()),
            !starts(r.old_oid()),
            !starts(r.local_oid()),
            r.global_oid().is_some(),
            r.group() != i / 2,
            batch.project() != "team/app" && i == 0,
            batch.peer() != "site-b" && i == 0,
            batch.oid_len() != 20 && i == 0,
            batch.names_at(&[i]).get(0) != r.name() && i % 1000 == 0,
        ];
        if let Some(column) = wrong.iter().position(|wrong| *wrong) {
            verdicts.discard([i], &format!("column-{column}"));
        }
    }
}

export_push_filter!(Hostile);
