//! Scenarios as text: the same story without the gate and with it, one step per line. `tests/scenarios/README.md` explains
//! the steps.

mod expect;
mod step;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use refgate_core::Oid;

use crate::{Lab, Setup};

/// A scenario that was read.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The stem of its file.
    pub name: String,
    /// Whether it runs on SHA-256 repositories too.
    pub sha256: bool,
    without: Vec<Line>,
    with: Vec<Line>,
}

/// One step and where it stands.
#[derive(Clone, Debug)]
struct Line {
    at: String,
    text: String,
}

impl Scenario {
    /// Reads one.
    ///
    /// # Panics
    /// When it has not both parts, or when the part without the gate proves nothing.
    pub fn parse(name: &str, text: &str) -> Scenario {
        let mut scenario =
            Scenario { name: name.into(), sha256: false, without: Vec::new(), with: Vec::new() };
        let mut part: Option<&mut Vec<Line>> = None;
        for (number, line) in text.lines().enumerate() {
            let step = line.split('#').next().unwrap_or_default().trim();
            let at = format!("{name}.txt:{}", number + 1);
            match (step, &mut part) {
                ("", _) => {}
                ("also sha256", _) => scenario.sha256 = true,
                ("without:", _) => part = Some(&mut scenario.without),
                ("with:", _) => part = Some(&mut scenario.with),
                (step, Some(part)) => part.push(Line { at, text: step.into() }),
                (step, None) => panic!("{at}: `{step}` stands before `without:` and `with:`"),
            }
        }
        let proves =
            |line: &Line| line.text.starts_with("expect lost") || line.text.starts_with("expect ref");
        assert!(scenario.without.iter().any(proves), "{name}: the part without the gate proves no damage");
        assert!(!scenario.with.is_empty(), "{name}: there is no part with the gate");
        scenario
    }

    /// Plays both parts, each in a new laboratory.
    pub async fn play(&self, setup: Setup) {
        Play::new(setup).all(&self.without).await;
        let gated = Play::new(setup);
        gated.all(&self.with).await;
        gated.nothing_is_lost();
    }
}

/// One part being played.
#[derive(Clone)]
struct Play {
    lab: Arc<Lab>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Commits by their names.
    commits: BTreeMap<String, Oid>,
    /// Names of commits that somebody was told are accepted, and that nobody gave up since.
    accepted: Vec<String>,
}

impl Play {
    fn new(setup: Setup) -> Play {
        Play { lab: Lab::new(setup), state: Arc::default() }
    }

    async fn all(&self, lines: &[Line]) {
        for line in lines {
            self.step(line.clone()).await;
        }
        assert!(!self.lab.clock().has_hooks(), "there was no wait for a `during-wait`");
        self.lab.names().iter().for_each(|site| assert!(self.lab.repo(site).is_whole(), "{site} is damaged"));
    }

    /// The promise: a ref of some site leads to everything that was accepted.
    fn nothing_is_lost(&self) {
        let accepted = self.state().accepted.clone();
        for name in accepted {
            assert!(self.is_kept(&name), "`{name}` was accepted and is lost");
        }
    }

    fn is_kept(&self, commit: &str) -> bool {
        let oid = self.oid(commit);
        self.lab.names().iter().any(|site| self.lab.repo(site).reaches(oid))
    }

    fn oid(&self, commit: &str) -> Oid {
        *self.state().commits.get(commit).unwrap_or_else(|| panic!("nobody made a commit `{commit}`"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
