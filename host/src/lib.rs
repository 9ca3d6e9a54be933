//! refgate-host

pub mod config;
