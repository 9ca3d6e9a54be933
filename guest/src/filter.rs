//! The traits of the three kinds of plugins.

use serde::de::DeserializeOwned;

use crate::{Batch, Problems, Verdicts};

/// Decides which refs go to another site.
pub trait PushFilter: Sized + 'static {
    /// The settings of the `[plugin "NAME"]` section, see [`settings`](crate::settings).
    type Settings: DeserializeOwned;

    /// The filter for these settings; problems refuse the plugin. Called once, before anything else.
    fn new(settings: Self::Settings) -> Result<Self, Problems>;

    /// Judges one batch. An error, like a panic, discards the whole batch as `filter-failed`.
    fn filter(&self, batch: &Batch, verdicts: &mut Verdicts) -> Result<(), String>;
}

/// Decides which refs come in from another site.
pub trait FetchFilter: Sized + 'static {
    /// The settings of the `[plugin "NAME"]` section, see [`settings`](crate::settings).
    type Settings: DeserializeOwned;

    /// The filter for these settings; problems refuse the plugin. Called once, before anything else.
    fn new(settings: Self::Settings) -> Result<Self, Problems>;

    /// Judges one batch. An error, like a panic, discards the whole batch as `filter-failed`.
    fn filter(&self, batch: &Batch, verdicts: &mut Verdicts) -> Result<(), String>;
}

/// Decides the same way about refs that go to and that come from another site: a push filter and a fetch filter in one.
pub trait RefFilter: Sized + 'static {
    /// The settings of the `[plugin "NAME"]` section, see [`settings`](crate::settings).
    type Settings: DeserializeOwned;

    /// The filter for these settings; problems refuse the plugin. Called once, before anything else.
    fn new(settings: Self::Settings) -> Result<Self, Problems>;

    /// Judges one batch. An error, like a panic, discards the whole batch as `filter-failed`.
    fn filter(&self, batch: &Batch, verdicts: &mut Verdicts) -> Result<(), String>;
}

impl<F: RefFilter> PushFilter for F {
    type Settings = F::Settings;

    fn new(settings: F::Settings) -> Result<F, Problems> {
        RefFilter::new(settings)
    }

    fn filter(&self, batch: &Batch, verdicts: &mut Verdicts) -> Result<(), String> {
        RefFilter::filter(self, batch, verdicts)
    }
}

impl<F: RefFilter> FetchFilter for F {
    type Settings = F::Settings;

    fn new(settings: F::Settings) -> Result<F, Problems> {
        RefFilter::new(settings)
    }

    fn filter(&self, batch: &Batch, verdicts: &mut Verdicts) -> Result<(), String> {
        RefFilter::filter(self, batch, verdicts)
    }
}

/// Decides which projects replicate at all.
pub trait ProjectMatcher: Sized + 'static {
    /// The settings of the `[plugin "NAME"]` section, see [`settings`](crate::settings).
    type Settings: DeserializeOwned;

    /// The matcher for these settings; problems refuse the plugin. Called once, before anything else.
    fn new(settings: Self::Settings) -> Result<Self, Problems>;

    /// Whether `project` replicates. An error, like a panic, fails the whole call: none of its projects is selected.
    fn matches(&self, project: &str) -> Result<bool, String>;
}
