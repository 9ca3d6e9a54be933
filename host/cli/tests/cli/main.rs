//! The command line from outside: real processes, real git, real bare repositories.

mod authors;
mod broken;
mod common;
mod config;
mod conformance;
mod demo;
mod docs;
mod heal;
mod init;
mod live;
mod locks;
mod machine;
mod more;
mod new;
mod plugins;
mod policy;
mod poor;
mod refdb;
mod replay;
mod sign;
mod test_options;
mod transfer;
mod usage;
mod wit;
