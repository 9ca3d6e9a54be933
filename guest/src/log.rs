//! Lines for the host's log: `log::warn!("…")`, formatted only when the host wants the level.

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Somebody has to act.
    Error,
    /// Somebody may have to act.
    Warn,
    /// Normal, and of interest.
    Info,
    /// For the author of the filter.
    Debug,
    /// For the author of the filter, and a lot of it.
    Trace,
}

/// Whether the host wants lines of this level.
pub fn enabled(level: Level) -> bool {
    backend::enabled(level)
}

/// Writes one line. The host cuts what exceeds its bound per call.
pub fn write(level: Level, message: &str) {
    backend::write(level, message);
}

#[cfg(target_arch = "wasm32")]
mod backend {
    use super::Level;
    use crate::bindings::log;

    pub fn enabled(level: Level) -> bool {
        log::enabled(level as u8)
    }

    pub fn write(level: Level, message: &str) {
        log::write(level as u8, message);
    }
}

/// Outside of wasm the lines of a call go to whoever runs the filter.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod backend {
    use super::Level;
    use std::cell::RefCell;

    std::thread_local! {
        static LINES: RefCell<Option<Vec<(Level, String)>>> = const { RefCell::new(None) };
    }

    pub fn enabled(_level: Level) -> bool {
        LINES.with_borrow(Option::is_some)
    }

    pub fn write(level: Level, message: &str) {
        LINES.with_borrow_mut(|lines| {
            if let Some(lines) = lines {
                lines.push((level, message.to_owned()));
            }
        });
    }

    /// What `call` returns, and what it logged.
    pub fn collect<T>(call: impl FnOnce() -> T) -> (T, Vec<(Level, String)>) {
        LINES.set(Some(Vec::new()));
        let result = call();
        (result, LINES.take().unwrap_or_default())
    }
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log_at {
    ($level:expr, $($arg:tt)+) => {
        if $crate::log::enabled($level) {
            $crate::log::write($level, &::std::format!($($arg)+));
        }
    };
}

macro_rules! level_macro {
    ($d:tt $hidden:ident $name:ident $level:ident) => {
        #[doc(hidden)]
        #[macro_export]
        macro_rules! $hidden {
                    ($d($d arg:tt)+) => { $crate::__log_at!($crate::log::Level::$level, $d($d arg)+) };
                }
        pub use $hidden as $name;
    };
}
level_macro!($ __log_error error Error);
level_macro!($ __log_warn warn Warn);
level_macro!($ __log_info info Info);
level_macro!($ __log_debug debug Debug);
level_macro!($ __log_trace trace Trace);
