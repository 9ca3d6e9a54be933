//! Transfers between real repositories, over every way that works without a network.

mod errors;
mod fetch;
mod hooks;
mod http;
mod push;
mod silence;
mod ssh;
mod support;
