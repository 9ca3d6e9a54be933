//! refgate-filter-push
