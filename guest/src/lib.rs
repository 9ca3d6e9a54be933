//! refgate-guest
