//! refgate-project-matcher
