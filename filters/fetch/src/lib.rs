//! refgate-filter-fetch
