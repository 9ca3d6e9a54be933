//! Log lines of plugins on their way to the host's log.

use std::sync::Arc;

use crate::limits::{Bytes, raise};

/// How much a line matters, in the order of the WIT text: 0 is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// 0: somebody has to act.
    Error,
    /// 1: somebody may have to act.
    Warn,
    /// 2: normal, and of interest.
    Info,
    /// 3: for the author of the plugin.
    Debug,
    /// 4 and above: for the author of the plugin, and a lot of it.
    Trace,
}

impl LogLevel {
    pub(crate) fn from_wit(level: u8) -> LogLevel {
        match level {
            0 => LogLevel::Error,
            1 => LogLevel::Warn,
            2 => LogLevel::Info,
            3 => LogLevel::Debug,
            _ => LogLevel::Trace,
        }
    }
}

/// Bytes that a line costs beside its text and the name of its plugin: the level, separators and the end of the line. An
/// empty line is a line in the host's log.
const LINE: usize = 16;

/// Takes the lines: level, name of the plugin, text. Control characters in the text are escaped already.
pub type LogSink = Arc<dyn Fn(LogLevel, &str, &str) + Send + Sync>;

/// The log of one instance.
pub(crate) struct PluginLog {
    sink: LogSink,
    max: LogLevel,
    plugin: Arc<str>,
    /// Bytes of one call, and those that are left of it.
    limit: usize,
    left: usize,
    /// The last error line of this call, to explain a trap.
    pub(crate) last_error: Option<String>,
}

impl PluginLog {
    /// A log of `limit` bytes per call.
    pub(crate) fn new(sink: LogSink, max: LogLevel, plugin: Arc<str>, limit: usize) -> PluginLog {
        PluginLog { sink, max, plugin, limit, left: limit, last_error: None }
    }

    pub(crate) fn begin_call(&mut self) {
        self.left = self.limit;
        self.last_error = None;
    }

    /// Bytes that were kept in this call.
    pub(crate) fn used(&self) -> usize {
        self.limit - self.left
    }

    pub(crate) fn enabled(&self, level: LogLevel) -> bool {
        level <= self.max && self.left > 0
    }

    pub(crate) fn write(&mut self, level: LogLevel, message: &str) {
        if !self.enabled(level) {
            return;
        }
        let left = self.left.saturating_sub(LINE + self.plugin.len());
        let kept = cut(message, left);
        let line = printable(kept);
        (self.sink)(level, &self.plugin, &line);
        self.left = left - kept.len();
        if kept.len() < message.len() || self.left == 0 {
            self.left = 0;
            let said = format!(
                "logs too much: the rest of this call's log, after {}, is dropped ({})",
                Bytes(self.limit),
                raise("log-kib", &self.plugin)
            );
            (self.sink)(LogLevel::Warn, &self.plugin, &said);
        }
        if level == LogLevel::Error {
            self.last_error = Some(line);
        }
    }
}

/// The first `bytes` of `text` at most, cut between two characters.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// One line of text that cannot pass for another one: control characters are escaped.
pub(crate) fn printable(text: &str) -> String {
    refgate_core::shown(text.trim_end()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn empty_lines_use_up_the_budget() {
        let lines = Arc::new(Mutex::new(0));
        let counted = lines.clone();
        let sink: LogSink = Arc::new(move |_, _: &str, _: &str| *counted.lock().unwrap() += 1);
        let mut log = PluginLog::new(sink, LogLevel::Info, "no-wip".into(), 64 << 10);
        log.begin_call();
        (0..100_000).for_each(|_| log.write(LogLevel::Info, ""));
        let most = (64 << 10) / (LINE + "no-wip".len()) + 2;
        assert!(*lines.lock().unwrap() <= most, "{} lines", lines.lock().unwrap());
        assert_eq!(log.used(), 64 << 10);
    }

    #[test]
    fn a_call_has_a_budget_and_lines_stay_lines() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = lines.clone();
        let sink: LogSink = Arc::new(move |level, plugin: &str, text: &str| {
            kept.lock().unwrap().push((level, format!("{plugin}: {text}")));
        });
        let mut log = PluginLog::new(sink, LogLevel::Info, "p".into(), 2 * (LINE + 1) + 10);
        log.begin_call();
        log.write(LogLevel::Debug, "not wanted");
        log.write(LogLevel::Error, "a\nb");
        log.write(LogLevel::Info, "äääääääää");
        log.write(LogLevel::Error, "too late");
        assert_eq!(log.last_error.as_deref(), Some("a\\nb"));
        let lines = lines.lock().unwrap();
        let texts: Vec<_> = lines.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts[..2], ["p: a\\nb", "p: äää"]);
        assert!(texts[2].contains("after 44 bytes") && texts[2].contains("`log-kib`"), "{}", texts[2]);
        assert_eq!(texts.len(), 3);
    }
}
