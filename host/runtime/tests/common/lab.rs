//! What the tests of swaps share: a plugin directory and what is saved of its sets.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use refgate_core::FilterSet;
use refgate_core::chain::{self, Said};
use refgate_runtime::{Event, Limits, LoadError, Runtime, Settings, Standing, State, SwapOptions, Swapper};
use tempfile::TempDir;

use crate::common::{batch, embedded, runtime, wait};
use crate::versions::place;

/// A plugin directory, a place for what is saved, and a runtime.
pub struct Lab {
    pub root: TempDir,
    pub runtime: Runtime,
}

impl Lab {
    pub fn new() -> Lab {
        let root = TempDir::new().unwrap();
        fs::create_dir(root.path().join("plugins")).unwrap();
        fs::set_permissions(root.path().join("plugins"), fs::Permissions::from_mode(0o755)).unwrap();
        Lab { root, runtime: runtime(Limits::default()).0 }
    }

    pub fn plugins(&self) -> PathBuf {
        self.root.path().join("plugins")
    }

    pub fn state(&self) -> State {
        State::open(&self.root.path().join("state")).unwrap()
    }

    pub fn options(&self) -> SwapOptions {
        SwapOptions {
            directory: Some(self.plugins()),
            state: Some(self.state()),
            settings: Settings::new(),
            embedded: embedded().to_vec(),
            require: Vec::new(),
            provenance: Default::default(),
            now_ms: Arc::new(|| 1_000),
            prove: None,
            observer: None,
            failures: None,
            shadow_looks: 0,
            max_changed_percent: 100.0,
        }
    }

    pub fn start(&self) -> (Swapper, Vec<Event>) {
        Swapper::start(&self.runtime, self.options()).unwrap()
    }

    pub fn strict(&self) -> Result<(Swapper, Vec<Event>), LoadError> {
        Swapper::start_strict(&self.runtime, self.options())
    }

    pub fn place(&self, name: &str, bytes: &[u8]) {
        place(&self.plugins(), name, bytes);
    }
}

/// The reason that the set gives for each of three refs.
pub fn reasons(set: &FilterSet) -> Vec<String> {
    // The shipped filter would discard refs that may not go.
    let look = wait(chain::look(set, &batch(vec![1; 3], 0)));
    assert_eq!(look.problems, Vec::<String>::new());
    let reason = |said| match said {
        Said::Discard { reason, .. } => reason.to_string(),
        _ => String::new(),
    };
    look.said.into_iter().map(reason).collect()
}

/// Why a plugin is not used.
pub fn quarantined(swapper: &Swapper, name: &str) -> Option<String> {
    swapper.status().into_iter().find_map(|s| match s.standing {
        Standing::Quarantined(reason) if s.name == name => Some(reason),
        _ => None,
    })
}
