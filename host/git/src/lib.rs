//! refgate-git
