//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::commands::{HookCommand, Several};

/// Keeps git sites from overwriting each other.
#[derive(Parser, Debug)]
#[command(name = "refgate", version, about, max_term_width = 110)]
pub struct Args {
    /// The configuration file
    #[arg(
        long,
        global = true,
        env = "REFGATE_CONFIG",
        default_value = "refgate.config",
        value_name = "FILE"
    )]
    pub config: PathBuf,
    /// Print one JSON document on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Show the split brain of two git sites without the gate, and its prevention with it
    Demo(DemoArgs),
    /// Write a commented configuration, an empty plugin directory and a ref-db
    Init(InitArgs),
    /// Push what the gate keeps of a project, of several or of all to a remote
    #[command(
        override_usage = "refgate push [OPTIONS] PROJECT... REMOTE\n       refgate push [OPTIONS] --all REMOTE"
    )]
    Push(TransferArgs),
    /// Fetch what the gate keeps of a project, of several or of all from a remote
    #[command(
        override_usage = "refgate fetch [OPTIONS] PROJECT... REMOTE\n       refgate fetch [OPTIONS] --all REMOTE"
    )]
    Fetch(TransferArgs),
    /// Why a ref is held back: what a reason means, or how a ref stands now
    #[command(
        override_usage = "refgate explain [OPTIONS] REASON\n       refgate explain [OPTIONS] PROJECT REF REMOTE"
    )]
    Explain(crate::commands::ExplainArgs),
    /// Which projects replicate
    #[command(subcommand)]
    Project(ProjectCommand),
    /// Look into the global ref-db and change it by hand
    #[command(subcommand)]
    Refdb(RefdbCommand),
    /// Let the pushes of a git server's clients go through the ref-db
    #[command(subcommand)]
    Hook(HookCommand),
    /// What filters are loaded and what they can do
    #[command(subcommand)]
    Plugins(PluginsCommand),
    /// Make a crate with a filter to start from
    New(crate::commands::NewArgs),
    /// Build a crate with a filter into a component, or give a manifest to one
    Build(BuildArgs),
    /// Sign a filter, for those who demand signatures
    Sign(crate::commands::sign::SignArgs),
    /// Who signed a filter
    Verify(crate::commands::sign::VerifyArgs),
    /// Run filters against case files
    Test(TestArgs),
    /// Measure what a filter costs
    Bench(crate::commands::BenchArgs),
    /// Ask filters about a recording, and show what they decide otherwise
    Replay(crate::commands::ReplayArgs),
    /// The contract between refgate and filters
    #[command(subcommand)]
    Wit(crate::commands::WitCommand),
    /// Look into the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// Arguments of `demo`.
#[derive(clap::Args, Debug)]
pub struct DemoArgs {
    /// Keep the sites in this new directory
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

/// Arguments of `init`.
#[derive(clap::Args, Debug)]
pub struct InitArgs {
    /// Where to write
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// Where the bare repositories are, when they are there already; they stay as they are
    #[arg(long, value_name = "DIR")]
    pub base_path: Option<PathBuf>,
    /// The name of this site, as the other sites know it
    #[arg(long)]
    pub name: String,
    /// The global ref-db that all sites share, for example sqlite:/srv/refgate/refdb.sqlite
    #[arg(long, value_name = "URL")]
    pub refdb: Option<String>,
    /// Another site; may be repeated
    #[arg(long = "remote", value_name = "NAME=URL")]
    pub remotes: Vec<String>,
}

/// Arguments of `push` and `fetch`.
#[derive(clap::Args, Debug)]
pub struct TransferArgs {
    /// One project or several, and last a remote of the configuration; with --all only the remote
    #[arg(required = true, value_name = "PROJECT... REMOTE")]
    pub names: Vec<String>,
    /// Several projects
    #[command(flatten)]
    pub several: Several,
    /// Only source refs that match; may be repeated, `*` crosses slashes
    #[arg(long = "ref", value_name = "GLOB")]
    pub refs: Vec<OsString>,
    /// Decide fully, wait included, and move nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Make the bare repository at the destination when there is none
    #[arg(long)]
    pub create: bool,
    /// Recording
    #[command(flatten)]
    pub record: crate::commands::RecordArgs,
}

/// `project …`
#[derive(Subcommand, Debug)]
pub enum ProjectCommand {
    /// Which of these projects replicate, and by which pattern
    Match {
        /// Project names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

/// `refdb …`
#[derive(Subcommand, Debug)]
pub enum RefdbCommand {
    /// Print entries
    Get {
        /// The project
        project: String,
        /// Full ref names; all entries without any
        refs: Vec<OsString>,
    },
    /// Write a value whatever is there, and clear its list of superseded values
    Put {
        /// The project
        project: String,
        /// The full ref name
        name: OsString,
        /// An oid, `deleted`, zeros, or `text:TEXT`
        value: String,
    },
    /// Write a value if the expected one is there
    Cas {
        /// The project
        project: String,
        /// The full ref name
        name: OsString,
        /// An oid, `deleted`, zeros, `text:TEXT`, or `absent`
        expected: String,
        /// An oid, `deleted`, zeros, or `text:TEXT`
        new: String,
        /// Only while this lock is held; `refdb lock` gives it to the command that it runs
        #[arg(long, env = "REFGATE_FENCE", value_name = "FENCE")]
        fence: Option<String>,
    },
    /// Hold the lock of a ref while a command runs
    Lock {
        /// The project
        project: String,
        /// The full ref name
        name: OsString,
        /// How long to wait for it
        #[arg(long, value_name = "MS", default_value_t = 1000)]
        wait: u64,
        /// How long it stays after this process dies
        #[arg(long, value_name = "MS", default_value_t = 10_000)]
        lease: u64,
        /// The command and its arguments
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// How refs are treated: checked against the ref-db or not, and by which rule
    Policy {
        /// The project
        project: String,
        /// Full ref names
        #[arg(required = true)]
        refs: Vec<OsString>,
    },
    /// Forget a ref, or all of a project
    Rm {
        /// The project
        project: String,
        /// The full ref name; without it the whole project
        name: Option<OsString>,
        /// Really forget the whole project
        #[arg(long)]
        yes: bool,
    },
    /// List all entries of a project
    Ls {
        /// The project
        project: String,
    },
    /// Fill the ref-db from the local repository; what is there already stays
    Seed {
        /// Projects
        #[arg(value_name = "PROJECT")]
        projects: Vec<String>,
        /// Several projects
        #[command(flatten)]
        several: Several,
        /// Overwrite what differs, and clear its list of superseded values
        #[arg(long)]
        force: bool,
        /// Really overwrite
        #[arg(long)]
        yes: bool,
    },
    /// Compare the local repository with the ref-db
    Check {
        /// Projects
        #[arg(value_name = "PROJECT")]
        projects: Vec<String>,
        /// Several projects
        #[command(flatten)]
        several: Several,
    },
    /// Move the ref-db forward to the local refs that descend from it
    Publish {
        /// The project
        project: String,
        /// Full ref names; all refs without any
        refs: Vec<OsString>,
    },
    /// Test whether a store does what refgate expects of one
    Conformance(ConformanceArgs),
    /// Show what keeps this site from agreeing with the ref-db, and repair it
    Heal(HealArgs),
    /// Forget deletions and superseded values that no site can need any more
    Forget(ForgetArgs),
    /// Show what this site knows of its ref-db and what is there, and go on with that
    Accept {
        /// Really go on with it; without this only show
        #[arg(long)]
        yes: bool,
    },
    /// Let no write land any more, at any site, until it is opened
    Close {
        /// What those read whose pushes are refused
        #[arg(long, value_name = "TEXT", default_value = "an operator stopped writes; try again later")]
        message: String,
    },
    /// Take writes again
    Open,
    /// Copy a whole ref-db into an empty one, and compare the two
    Copy {
        /// The URL of the one that is copied
        #[arg(value_name = "FROM-URL")]
        from: String,
        /// The URL of the copy
        #[arg(value_name = "TO-URL")]
        to: String,
    },
    /// Give up what the ref-db records of a project whose repository was made anew, at all sites
    StartOver {
        /// The project
        project: String,
        /// Really give it up; without this only show
        #[arg(long)]
        yes: bool,
        /// Also if the repository has something of what is recorded
        #[arg(long)]
        not_new: bool,
    },
}

/// Arguments of `refdb conformance`.
#[derive(clap::Args, Debug)]
pub struct ConformanceArgs {
    /// The store; without it the one of the configuration
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Only cases whose number or name matches
    #[arg(long, value_name = "GLOB")]
    pub only: Option<String>,
    /// What everything random follows from, to repeat a run
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// Arguments of `refdb forget`.
#[derive(clap::Args, Debug)]
pub struct ForgetArgs {
    /// Projects
    #[arg(value_name = "PROJECT")]
    pub projects: Vec<String>,
    /// Several projects
    #[command(flatten)]
    pub several: Several,
    /// Really note and forget; without this only show
    #[arg(long)]
    pub yes: bool,
    /// The configuration names every site, also if others once used the ref-db
    #[arg(long)]
    pub sites_are_complete: bool,
}

/// Arguments of `refdb heal`.
#[derive(clap::Args, Debug)]
pub struct HealArgs {
    /// Projects
    #[arg(value_name = "PROJECT")]
    pub projects: Vec<String>,
    /// Several projects
    #[command(flatten)]
    pub several: Several,
    /// Move the ref-db to local values that descend from what it holds
    #[arg(long)]
    pub publish: bool,
    /// Keep copies of diverged local values, and set the refs to what the ref-db holds
    #[arg(long)]
    pub rescue: bool,
    /// Give up this value of the ref-db, which no site has any more, and record the local one
    #[arg(long, value_name = "OID")]
    pub accept_loss: Option<String>,
    /// Really do it; without this only show what there is to do
    #[arg(long)]
    pub yes: bool,
}

/// `plugins …`
#[derive(Subcommand, Debug)]
pub enum PluginsCommand {
    /// Every filter, how it stands, and where it comes from
    List,
    /// Would these plugins load and pass their cases; without any the plugin directory
    Check {
        /// .wasm files or directories
        #[arg(value_name = "PLUGIN")]
        plugins: Vec<PathBuf>,
    },
    /// The sets that were live, the newest first
    History,
    /// Go back to the set before the live one
    Rollback {
        /// Why, for those who read the list later
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// To this generation instead, one of those that `plugins history` lists
        #[arg(long, value_name = "GENERATION")]
        to: Option<u64>,
        /// Say what would come of it, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Use a plugin again that was rolled back
    Release {
        /// Its name
        name: String,
    },
    /// Keep the live set as a running host does, and print what happens, until it is ended
    Watch {
        /// How often the directory is read though nothing was told of it, as on network file systems
        #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
        rescan: u64,
    },
    /// What a filter imports and exports, without running it
    Inspect {
        /// A plugin's name, or a .wasm file
        plugin: String,
    },
}

/// Arguments of `build`.
#[derive(clap::Args, Debug)]
pub struct BuildArgs {
    /// The directory of the crate, or what another toolchain made: a core module, or a component to give a manifest
    #[arg(default_value = ".", value_name = "DIR|FILE.wasm")]
    pub source: PathBuf,
    /// What the manifest is made of; the default is filter.toml in the directory, if it is there
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
    /// Where to write the component; the default is NAME.wasm in the current directory
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Arguments of `test`.
#[derive(clap::Args, Debug)]
pub struct TestArgs {
    /// The filters of this directory beside the shipped ones
    #[arg(long, value_name = "DIR", conflicts_with = "filter")]
    pub plugins: Option<PathBuf>,
    /// This filter alone
    #[arg(long, value_name = "FILE.wasm")]
    pub filter: Option<PathBuf>,
    /// Run every case on fresh instances and on used ones: a difference fails it
    #[arg(long)]
    pub twice: bool,
    /// Say what of the policy no case exercised
    #[arg(long)]
    pub coverage: bool,
    /// Write the results as JUnit XML, too
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Run again whenever a case file or a filter changes
    #[arg(long)]
    pub watch: bool,
    /// Case files, JSON or TOML; without any those that the component of --filter carries
    #[arg(value_name = "CASE-FILE")]
    pub files: Vec<PathBuf>,
}

/// `config …`
#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// Validate the file and print every effective value with where it comes from
    Check,
}

impl Command {
    /// How many threads more than most commands it may want at once.
    pub fn more_threads(&self) -> usize {
        match self {
            Command::Push(args) | Command::Fetch(args) => args.several.more_threads(&args.names[1..]),
            Command::Refdb(
                RefdbCommand::Seed { projects, several, .. } | RefdbCommand::Check { projects, several },
            )
            | Command::Hook(
                HookCommand::Install { projects, several, .. }
                | HookCommand::Uninstall { projects, several }
                | HookCommand::Status { projects, several },
            ) => several.more_threads(projects),
            Command::Refdb(RefdbCommand::Heal(args)) => args.several.more_threads(&args.projects),
            Command::Refdb(RefdbCommand::Forget(args)) => args.several.more_threads(&args.projects),
            _ => 0,
        }
    }

    /// The command as `--json` names it.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Demo(_) => "demo",
            Command::Init(_) => "init",
            Command::Push(_) => "push",
            Command::Fetch(_) => "fetch",
            Command::Explain(_) => "explain",
            Command::Project(ProjectCommand::Match { .. }) => "project match",
            Command::Refdb(refdb) => match refdb {
                RefdbCommand::Get { .. } => "refdb get",
                RefdbCommand::Put { .. } => "refdb put",
                RefdbCommand::Cas { .. } => "refdb cas",
                RefdbCommand::Rm { .. } => "refdb rm",
                RefdbCommand::Ls { .. } => "refdb ls",
                RefdbCommand::Seed { .. } => "refdb seed",
                RefdbCommand::Check { .. } => "refdb check",
                RefdbCommand::Publish { .. } => "refdb publish",
                RefdbCommand::Lock { .. } => "refdb lock",
                RefdbCommand::Policy { .. } => "refdb policy",
                RefdbCommand::Conformance(_) => "refdb conformance",
                RefdbCommand::Heal(_) => "refdb heal",
                RefdbCommand::Forget(_) => "refdb forget",
                RefdbCommand::Accept { .. } => "refdb accept",
                RefdbCommand::Close { .. } => "refdb close",
                RefdbCommand::Open => "refdb open",
                RefdbCommand::Copy { .. } => "refdb copy",
                RefdbCommand::StartOver { .. } => "refdb start-over",
            },
            Command::Hook(hook) => match hook {
                HookCommand::Install { .. } => "hook install",
                HookCommand::Uninstall { .. } => "hook uninstall",
                HookCommand::Status { .. } => "hook status",
                HookCommand::ProcReceive { .. } => "hook proc-receive",
                HookCommand::PostReceive { .. } => "hook post-receive",
                HookCommand::Replicate { .. } => "hook replicate",
                HookCommand::ReferenceTransaction { .. } => "hook reference-transaction",
            },
            Command::Plugins(PluginsCommand::List) => "plugins list",
            Command::Plugins(PluginsCommand::Check { .. }) => "plugins check",
            Command::Plugins(PluginsCommand::History) => "plugins history",
            Command::Plugins(PluginsCommand::Rollback { .. }) => "plugins rollback",
            Command::Plugins(PluginsCommand::Release { .. }) => "plugins release",
            Command::Plugins(PluginsCommand::Watch { .. }) => "plugins watch",
            Command::Plugins(PluginsCommand::Inspect { .. }) => "plugins inspect",
            Command::Build(_) => "build",
            Command::Sign(_) => "sign",
            Command::Verify(_) => "verify",
            Command::Test(_) => "test",
            Command::Bench(_) => "bench",
            Command::Replay(_) => "replay",
            Command::New(_) => "new",
            Command::Wit(wit) => wit.name(),
            Command::Config(ConfigCommand::Check) => "config check",
        }
    }
}
