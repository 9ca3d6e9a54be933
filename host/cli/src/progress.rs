//! What goes on, on standard error: a spinner on a terminal, nothing otherwise but the remote's own words.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use refgate_core::told;
use refgate_host::replicate::Progress;

/// Stages of a transfer.
pub struct Spinner {
    bar: ProgressBar,
}

impl Spinner {
    /// Starts to spin if standard error is a terminal.
    pub fn start() -> Arc<Spinner> {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if std::io::stderr().is_terminal() {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        Arc::new(Spinner { bar })
    }

    /// A new message.
    pub fn show(&self, text: &str) {
        self.bar.set_message(told(text).into_owned());
    }

    /// Does `work`, which prints, with the line out of its way.
    pub fn aside(&self, work: impl FnOnce()) {
        self.bar.suspend(work);
    }

    /// Clears the line.
    pub fn stop(&self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for Spinner {
    fn stage(&self, text: &str) {
        self.bar.set_message(told(text).into_owned());
    }

    fn line(&self, text: &str) {
        if self.bar.is_hidden() {
            crate::output::note(text);
        } else {
            self.bar.println(told(text));
        }
    }
}

/// Of one project among several: no stages, and lines name the project.
pub struct Lines {
    /// The project.
    pub project: String,
}

impl Progress for Lines {
    fn stage(&self, _: &str) {}

    fn line(&self, text: &str) {
        crate::output::note(&format!("{}: {text}", self.project));
    }
}

/// What a bar says beside its count.
pub fn say(bar: &ProgressBar, text: &str) {
    bar.set_message(told(text).into_owned());
}

/// A bar for work whose amount is known. Hidden when standard error is no terminal.
pub fn bar(total: u64, what: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    // The template is a constant; a wrong one would only lose the looks.
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}") {
        bar.set_style(style);
    }
    bar.set_message(told(what).into_owned());
    bar
}
