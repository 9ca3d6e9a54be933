//! What turns a filter into a component: the export macros and the code behind them.

/// Exports a [`PushFilter`](crate::PushFilter) as the world `push-filter`. Expands to nothing outside of wasm.
#[macro_export]
macro_rules! export_push_filter {
    ($filter:ty) => {
        $crate::__export_ref_filter!($filter, PushFilter, push export_push);
    };
}

/// Exports a [`FetchFilter`](crate::FetchFilter) as the world `fetch-filter`. Expands to nothing outside of wasm.
#[macro_export]
macro_rules! export_fetch_filter {
    ($filter:ty) => {
        $crate::__export_ref_filter!($filter, FetchFilter, fetch export_fetch);
    };
}

/// Exports a [`RefFilter`](crate::RefFilter) as both worlds, `push-filter` and `fetch-filter`, in one component. Expands to
/// nothing outside of wasm.
#[macro_export]
macro_rules! export_push_and_fetch_filter {
    ($filter:ty) => {
        $crate::__export_ref_filter!($filter, RefFilter, push export_push, fetch export_fetch);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_ref_filter {
    ($filter:ty, $trait:ident, $($world:ident $export:ident),+) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings;

            // Once, whatever the number of worlds: a component has one `configure`.
            $crate::__lifecycle!($filter, $trait);
            fn run(batch: &bindings::RefBatch, verdicts: &bindings::Verdicts) -> Result<(), String> {
                PLUGIN.with(|plugin| {
                    let filter = plugin.get()?;
                    $crate::run_filter(batch, verdicts, |batch, verdicts| {
                        <$filter as $crate::$trait>::filter(filter, batch, verdicts)
                    })
                })
            }
            $(
                impl bindings::$world::Guest for Plugin {
                    fn filter(batch: &bindings::RefBatch, verdicts: &bindings::Verdicts) -> Result<(), String> {
                        run(batch, verdicts)
                    }
                }
    bindings::$world::$export!(Plugin with_types_in bindings::$world);
            )+
        };
    };
}

/// Exports a [`ProjectMatcher`](crate::ProjectMatcher) as the world `project-matcher`. Expands to nothing outside of
/// wasm.
#[macro_export]
macro_rules! export_project_matcher {
    ($matcher:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings;

            $crate::__lifecycle!($matcher, ProjectMatcher);
            impl bindings::projects::Guest for Plugin {
                fn match_all(
                    batch: &bindings::ProjectBatch,
                    selection: &bindings::Selection,
                ) -> Result<(), String> {
                    PLUGIN.with(|plugin| $crate::match_all(plugin.get()?, batch, selection))
                }
            }
    bindings::projects::export_projects!(Plugin with_types_in bindings::projects);
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __lifecycle {
    ($plugin:ty, $trait:ident) => {
        ::std::thread_local! {
            static PLUGIN: $crate::Slot<$plugin> = const { $crate::Slot::new() };
        }
        struct Plugin;
        impl $crate::bindings::lifecycle::Guest for Plugin {
            fn configure(settings: String) -> Result<(), String> {
                PLUGIN.with(|plugin| plugin.configure(&settings, <$plugin as $crate::$trait>::new))
            }
        }
        $crate::bindings::lifecycle::export_lifecycle!(Plugin with_types_in $crate::bindings::lifecycle);
    };
}

#[cfg(target_arch = "wasm32")]
pub use wasm::{Slot, match_all, run_filter};

#[cfg(target_arch = "wasm32")]
mod wasm {
    use std::cell::OnceCell;

    use serde::de::DeserializeOwned;

    use crate::bindings::{self, ProjectBatch, RefBatch, Selection};
    use crate::log::{self, Level};
    use crate::{Batch, Problems, ProjectMatcher, Verdicts, settings};

    /// Projects read per host call.
    const PROJECT_WINDOW: u32 = 4_096;

    /// Holds the one plugin of an instance from `configure` on.
    pub struct Slot<T>(OnceCell<T>);

    impl<T> Slot<T> {
        /// Not configured yet.
        #[allow(clippy::new_without_default, reason = "a slot is a static, made once by the macro")]
        pub const fn new() -> Slot<T> {
            Slot(OnceCell::new())
        }

        /// Makes the plugin from the host's JSON.
        pub fn configure<S: DeserializeOwned>(
            &self,
            json: &str,
            new: impl FnOnce(S) -> Result<T, Problems>,
        ) -> Result<(), String> {
            // Without this a panic is a bare trap: the host could not say what happened.
            std::panic::set_hook(Box::new(|panic| log::write(Level::Error, &panic.to_string())));
            let plugin = settings::read(json).and_then(new).map_err(|problems| problems.to_string())?;
            self.0.set(plugin).map_err(|_| ": the plugin is configured already".to_owned())
        }

        /// The plugin, once configured.
        pub fn get(&self) -> Result<&T, String> {
            self.0.get().ok_or_else(|| "the plugin is not configured".to_owned())
        }
    }

    /// Calls a filter once and hands the verdicts over.
    pub fn run_filter(
        batch: &RefBatch,
        to: &bindings::Verdicts,
        filter: impl FnOnce(&Batch, &mut Verdicts) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut verdicts = Verdicts::new(batch.len());
        filter(&Batch::new(batch), &mut verdicts)?;
        let (discards, all, rechecks) = verdicts.into_parts();
        for (refs, reason) in discards {
            to.discard(&refs, &reason);
        }
        if let Some(reason) = all {
            to.discard_all(&reason);
        }
        if !rechecks.is_empty() {
            to.recheck(&rechecks);
        }
        Ok(())
    }

    /// Asks `matcher` about every project of the batch.
    pub fn match_all<M: ProjectMatcher>(
        matcher: &M,
        batch: &ProjectBatch,
        selection: &Selection,
    ) -> Result<(), String> {
        let len = batch.len();
        let mut start = 0;
        while start < len {
            let end = start.saturating_add(PROJECT_WINDOW).min(len);
            let mut selected = Vec::new();
            for (index, name) in (start..).zip(batch.names(start, end)) {
                if matcher.matches(&name)? {
                    selected.push(index);
                }
            }
            selection.select(&selected);
            start = end;
        }
        Ok(())
    }
}
