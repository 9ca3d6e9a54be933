//! refgate-tests
