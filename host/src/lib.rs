//! refgate-host
