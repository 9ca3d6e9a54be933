//! refgate-runtime
