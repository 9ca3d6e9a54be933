//! One module per command.

mod bench;
mod build;
mod config;
mod demo;
mod explain;
mod hook;
mod init;
mod many;
mod new;
mod plugin_history;
mod plugin_set;
mod plugins;
mod project;
mod refdb;
mod replay;
pub mod sign;
mod site;
mod test;
mod transfer;
mod wit;

use refgate_core::Direction;
use refgate_host::Error;

pub use bench::BenchArgs;
pub use explain::ExplainArgs;
pub use hook::HookCommand;
pub use many::Several;
pub use new::NewArgs;
pub use replay::{RecordArgs, ReplayArgs};
pub use wit::WitCommand;

use crate::args::{Args, Command, ConfigCommand, PluginsCommand, ProjectCommand};
use crate::output::Output;

/// Runs the command; returns its exit code.
pub async fn run(args: Args, output: &Output) -> Result<u8, Error> {
    let file = args.config.as_path();
    match args.command {
        Command::Demo(args) => demo::run(args, output).await,
        Command::Init(args) => init::run(args, output).await,
        Command::Push(args) => transfer::run(file, Direction::Push, args, output).await,
        Command::Fetch(args) => transfer::run(file, Direction::Fetch, args, output).await,
        Command::Explain(args) => explain::run(file, args, output).await,
        Command::Project(ProjectCommand::Match { names }) => project::run(file, &names, output).await,
        Command::Refdb(command) => refdb::run(file, command, output).await,
        Command::Hook(command) => hook::run(file, command, output).await,
        Command::Plugins(PluginsCommand::List) => plugin_set::list(file, output),
        Command::Plugins(PluginsCommand::Check { plugins }) => plugin_set::check(file, &plugins, output),
        Command::Plugins(PluginsCommand::History) => plugin_history::history(file, output),
        Command::Plugins(PluginsCommand::Rollback { reason, to, dry_run }) => {
            plugin_history::rollback(file, reason.as_deref(), (to, dry_run), output)
        }
        Command::Plugins(PluginsCommand::Release { name }) => plugin_history::release(file, &name, output),
        Command::Plugins(PluginsCommand::Watch { rescan }) => plugin_set::watch(file, rescan, output),
        Command::Plugins(PluginsCommand::Inspect { plugin }) => plugins::inspect(file, &plugin, output),
        Command::Build(args) => build::run(&args, output),
        Command::Sign(args) => sign::sign(&args, output),
        Command::Verify(args) => sign::verify(file, &args, output),
        Command::Test(args) => test::run(args, output).await,
        Command::New(args) => new::run(&args, output),
        Command::Wit(command) => wit::run(command, output),
        Command::Bench(args) => bench::run(file, &args, output),
        Command::Replay(args) => replay::run(file, args, output).await,
        Command::Config(ConfigCommand::Check) => config::check(file, output).await,
    }
}
