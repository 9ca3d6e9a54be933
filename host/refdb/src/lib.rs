//! refgate-refdb
