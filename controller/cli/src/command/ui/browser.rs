//! Opens the user's browser.

use std::process::{Command, Stdio};

/// The programs that open a URL in the user's browser, on Linux and macOS.
const OPENERS: [&str; 2] = ["xdg-open", "open"];

/// Opens a URL. Returns false if there is no program for that.
pub(super) fn open(url: &str) -> bool {
    OPENERS.into_iter().any(|program| {
        let mut command = Command::new(program);
        command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // It may go on as long as the browser.
        command.spawn().is_ok()
    })
}
