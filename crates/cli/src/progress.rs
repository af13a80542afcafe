//! What a person at a terminal sees while something takes long. Where standard error is no terminal there is nothing to see.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// Shows that work goes on, until it is dropped.
pub(crate) struct Progress(ProgressBar);

/// Begins to show `what` is being done.
pub(crate) fn show(what: String) -> Progress {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::default_spinner());
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(120));
    Progress(bar)
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
