//! refgate-filters
