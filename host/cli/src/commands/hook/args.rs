//! The arguments of `hook …`.

use clap::Subcommand;

use crate::commands::Several;

/// `hook …`
#[derive(Subcommand, Debug)]
pub enum HookCommand {
    /// Put the hook into the repository of a project, and set what git needs to run it
    Install {
        /// Projects
        #[arg(value_name = "PROJECT")]
        projects: Vec<String>,
        /// Several projects
        #[command(flatten)]
        several: Several,
        /// Note what others than refgate write to the refs
        #[arg(long)]
        audit: bool,
        /// Refuse what others than refgate write to the refs, unless the ref-db holds it (files backend only)
        #[arg(long)]
        backstop: bool,
        /// Send what is pushed on to this remote, in the background; may be repeated
        #[arg(long, value_name = "REMOTE")]
        replicate: Vec<String>,
        /// Send on no longer what is pushed
        #[arg(long, conflicts_with = "replicate")]
        no_replicate: bool,
    },
    /// Take the hooks and settings out again
    Uninstall {
        /// Projects
        #[arg(value_name = "PROJECT")]
        projects: Vec<String>,
        /// Several projects
        #[command(flatten)]
        several: Several,
    },
    /// What is installed, what is unfinished, and what was written past the hook
    Status {
        /// Projects
        #[arg(value_name = "PROJECT")]
        projects: Vec<String>,
        /// Several projects
        #[command(flatten)]
        several: Several,
    },
    /// git runs this for every push
    #[command(hide = true)]
    ProcReceive {
        /// The project
        project: String,
    },
    /// git runs this after every push, to send it on
    #[command(hide = true)]
    PostReceive {
        /// The remotes
        #[arg(long = "to", value_name = "REMOTE", required = true)]
        to: Vec<String>,
        /// The project
        project: String,
    },
    /// What `post-receive` leaves running: sends to a remote what was pushed
    #[command(hide = true)]
    Replicate {
        /// The remote
        #[arg(long, value_name = "REMOTE")]
        to: String,
        /// The project
        project: String,
    },
    /// git runs this for every change of refs
    #[command(hide = true)]
    ReferenceTransaction {
        /// The project
        project: String,
        /// What git is about to do or has done
        state: String,
    },
}
