//! Sites below one temporary directory: each with a configuration, repositories, and all others as its remotes.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use refgate_core::{Clock, FilterSource, ObjectFormat, Project, RefDb};
use refgate_git::GitRepositories;
use refgate_host::filters::Loader;
use refgate_host::gated::Witness;
use refgate_host::replicate::{self, Options, Silent};
use refgate_host::{Config, Error, Gate, GateParts, Move, Report, Site, State, System, open_refdb};

use crate::clock::RealClock;
use crate::far::FarRefDb;
use crate::{Daemon, Repo, TestClock};

/// The one project of most tests.
pub const PROJECT: &str = "team/app";

/// On what kind of repositories, and over what.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Over git daemon, else by path.
    pub daemon: bool,
    /// Refs in a reftable, else in files.
    pub reftable: bool,
    /// SHA-1 or SHA-256.
    pub format: ObjectFormat,
}

impl Default for Setup {
    fn default() -> Self {
        Setup { daemon: false, reftable: false, format: ObjectFormat::Sha1 }
    }
}

/// Several sites and their ref-db.
pub struct Lab {
    // Before the directory that it serves.
    daemon: Option<Daemon>,
    dir: tempfile::TempDir,
    setup: Setup,
    clock: Arc<TestClock>,
    sites: Mutex<Vec<Spec>>,
}

struct Spec {
    name: String,
    writes: String,
    /// Appended to the configuration.
    extra: String,
}

impl Lab {
    /// No site yet.
    pub fn new(setup: Setup) -> Arc<Lab> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let daemon = setup.daemon.then(|| Daemon::start(dir.path()));
        Arc::new(Lab { daemon, dir, setup, clock: Arc::default(), sites: Mutex::default() })
    }

    /// Sites `A`, `B`, … of these kinds, on files and by path.
    pub fn with(kinds: &[&str]) -> Arc<Lab> {
        let lab = Lab::new(Setup::default());
        kinds.iter().zip('A'..='Z').for_each(|(kind, name)| lab.site(&name.to_string(), kind));
        lab
    }

    /// A site with an empty repository of the project.
    pub fn site(&self, name: &str, writes: &str) {
        self.empty_site(name, writes);
        Repo::init(&self.path(name), self.setup.format, self.storage());
    }

    /// A site without any repository.
    pub fn empty_site(&self, name: &str, writes: &str) {
        fs::create_dir_all(self.dir.path().join(name)).expect("it is ours");
        self.sites().push(Spec { name: name.into(), writes: writes.into(), extra: String::new() });
    }

    /// Adds to the configuration of a site, in the syntax of the file.
    pub fn configure(&self, site: &str, text: &str) {
        let mut sites = self.sites();
        let spec = sites.iter_mut().find(|s| s.name == site).expect("a site");
        spec.extra += &format!("{text}\n");
    }

    /// Takes back all that was added to the configuration of a site, and adds this instead.
    pub fn reconfigure(&self, site: &str, text: &str) {
        self.sites().iter_mut().filter(|s| s.name == site).for_each(|s| s.extra.clear());
        self.configure(site, text);
    }

    /// The directory of everything.
    pub fn dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// Where the repository of the project is, or would be.
    pub fn path(&self, site: &str) -> PathBuf {
        self.dir.path().join(site).join("git").join(format!("{PROJECT}.git"))
    }

    /// The repository of the project at a site.
    pub fn repo(&self, site: &str) -> Repo {
        Repo::at(&self.path(site))
    }

    /// The address of the project's repository at a site.
    pub fn url(&self, site: &str) -> String {
        self.template(site).replace("${name}", PROJECT)
    }

    /// The clock of all sites.
    pub fn clock(&self) -> &Arc<TestClock> {
        &self.clock
    }

    /// The names of all sites.
    pub fn names(&self) -> Vec<String> {
        self.sites().iter().map(|s| s.name.clone()).collect()
    }

    /// The kind of a site.
    pub fn writes(&self, site: &str) -> String {
        self.sites().iter().find(|s| s.name == site).expect("a site").writes.clone()
    }

    /// Opens a site as a command does: its file, the ref-db, the filters.
    pub async fn open(&self, site: &str) -> Result<Site, Error> {
        let system = self.system();
        let config = Config::load(&self.write_config(site))?;
        let filters = loader(&system).load(&config)?.into();
        let refdb = open_refdb(&config, true, Arc::new(RealClock)).await?.db;
        let repositories = GitRepositories::new(config.site.base_path.clone());
        let local = Arc::new(repositories.clone());
        let (clock, rng) = (system.clock, system.rng);
        Ok(Site {
            gate: Gate::new(GateParts { refdb, local, filters, clock, rng, config }),
            repositories,
            recorder: None,
            // Clients write by `Lab::record` and the like, never past the ref-db.
            witness: Witness::Embedder,
        })
    }

    /// The same with other filters.
    pub async fn open_with(&self, site: &str, filters: Arc<dyn FilterSource>) -> Site {
        let site = self.open(site).await.expect("a site");
        let system = self.system();
        let (refdb, local) = (site.gate.refdb().clone(), Arc::new(site.repositories.clone()));
        let (clock, rng, config) = (system.clock, system.rng, site.gate.config().clone());
        Site { gate: Gate::new(GateParts { refdb, local, filters, clock, rng, config }), ..site }
    }

    /// The same with a ref-db that could be used from other machines, as far as anybody can tell.
    pub async fn open_far(&self, site: &str) -> Site {
        let Site { gate, repositories, .. } = self.open(site).await.expect("a site");
        let refdb = RefDb::new(FarRefDb(gate.refdb().store().clone()));
        let system = self.system();
        let (local, filters, config) =
            (Arc::new(repositories.clone()), Arc::new(gate.filters()), gate.config().clone());
        let (clock, rng) = (system.clock, system.rng);
        Site {
            gate: Gate::new(GateParts { refdb, local, filters, clock, rng, config }),
            repositories,
            recorder: None,
            // Clients write by `Lab::record` and the like, never past the ref-db.
            witness: Witness::Embedder,
        }
    }

    /// Pushes through the gate.
    pub async fn push(&self, from: &str, to: &str) -> Report {
        self.try_push(from, to, &Options::default()).await.expect("a push")
    }

    /// Fetches through the gate.
    pub async fn fetch(&self, at: &str, from: &str) -> Report {
        self.try_fetch(at, from, &Options::default()).await.expect("a fetch")
    }

    /// Pushes, and says why it cannot.
    pub async fn try_push(&self, from: &str, to: &str, options: &Options) -> Result<Report, Error> {
        let site = self.open(from).await?;
        replicate::push(&site, &project(), to, options, Arc::new(Silent)).await
    }

    /// Fetches, and says why it cannot.
    pub async fn try_fetch(&self, at: &str, from: &str, options: &Options) -> Result<Report, Error> {
        let site = self.open(at).await?;
        replicate::fetch(&site, &project(), from, options, Arc::new(Silent)).await
    }

    /// Time that only counts and randomness that repeats itself.
    pub fn system(&self) -> System {
        System {
            clock: self.clock.clone() as Arc<dyn Clock>,
            rng: Arc::new(Mutex::new(SmallRng::seed_from_u64(1))),
            secret: Arc::new(|_| Err("there is no randomness here".to_owned())),
            // Nobody unparks the ticker: this is a sleep.
            pause: Arc::new(std::thread::park_timeout),
            compiler: None,
            log: Arc::new(|_, _, _| {}),
        }
    }

    fn storage(&self) -> &'static str {
        if self.setup.reftable { "reftable" } else { "files" }
    }

    fn template(&self, site: &str) -> String {
        match &self.daemon {
            Some(daemon) => daemon.url(&format!("{site}/git/${{name}}.git")),
            None => format!("{}/{site}/git/${{name}}.git", self.dir.path().display()),
        }
    }

    fn write_config(&self, site: &str) -> PathBuf {
        let sites = self.sites();
        let this = sites.iter().find(|s| s.name == site).expect("a site");
        let mut text = format!(
            "[site]\nname = {site}\nwrites = {}\n[ref-database]\nurl = sqlite:../refdb.sqlite\n",
            this.writes
        );
        // Deadlines are counted from when this clock, which stands still, was made; the store looks at the real time.
        text += "timeoutMs = 600000\n";
        for filter in ["push-filter", "fetch-filter"] {
            let _ = write!(text, "[replication \"{filter}\"]\nminWaitBeforeReloadLocalVersionMs = 10\n");
            let _ = writeln!(text, "maxRandomWaitBeforeReloadLocalVersionMs = 5");
        }
        for other in sites.iter().filter(|s| s.name != site) {
            let (name, url) = (&other.name, self.template(&other.name));
            let _ = write!(text, "[remote \"{name}\"]\nurl = {url}\nwrites = {}\n", other.writes);
        }
        text += &this.extra;
        let file = self.dir.path().join(site).join("refgate.config");
        // As a whole: another thread may be reading it.
        let mut half = tempfile::NamedTempFile::new_in(self.dir.path().join(site)).expect("it is ours");
        half.write_all(text.as_bytes()).expect("there is room");
        half.persist(&file).expect("it is ours");
        file
    }

    fn sites(&self) -> MutexGuard<'_, Vec<Spec>> {
        self.sites.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The one project.
pub(crate) fn project() -> Project {
    Project::new(PROJECT).expect("a legal name")
}

/// One for all tests of a process: it compiles the components once.
fn loader(system: &System) -> &'static Loader {
    static LOADER: OnceLock<Loader> = OnceLock::new();
    LOADER.get_or_init(|| Loader::new(system).expect("WebAssembly works"))
}

/// What became of every ref of a report: the reason, or `replicated`, `rejected`, `not-sent`. Branches have short names.
pub fn outcomes(report: &Report) -> Vec<(String, String)> {
    let one = |one: Move<'_>| {
        let outcome = match one.state() {
            State::Held(held) => held.reason.to_string(),
            State::Refused(_) | State::Unknown(_) => "rejected".into(),
            other => other.to_string(),
        };
        let name = one.name().to_string();
        (name.strip_prefix("refs/heads/").map(str::to_owned).unwrap_or(name), outcome)
    };
    report.decision.moves.iter().map(one).collect()
}

/// Runs a test.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(test)
}
