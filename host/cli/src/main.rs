//! `refgate`: keeps git sites from overwriting each other.
//!
//! Parses the command line, runs one command, and turns its outcome into output and an exit code.

mod args;
mod commands;
mod output;
mod progress;
mod system;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;
use crate::output::Output;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(e) => return output::usage_error(&e),
    };
    let output = Output::new(args.json, args.command.name());
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            return output.fail(&refgate_host::Error::failed(format!("cannot start worker threads: {e}")));
        }
    };
    match runtime.block_on(commands::run(args, &output)) {
        Ok(code) => output.code(code),
        Err(e) => output.fail(&e),
    }
}
