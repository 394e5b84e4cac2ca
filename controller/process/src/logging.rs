//! Logs on standard error: one event for each thing that happened.

use clap::ValueEnum;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for programs.
    Json,
}

/// The libraries whose troubles we report in our own words. At `debug` they are heard, too.
const QUIET: &str = "kube_client=off,notify=off";

/// Starts logging. `FEDGATE_LOG` sets a level, or `tracing-subscriber` directives. The default is
/// `info`.
pub fn start(format: LogFormat) {
    let asked = std::env::var_os("FEDGATE_LOG").unwrap_or_default();
    let asked = asked.to_string_lossy();
    let (filter, is_understood) = filter(&asked);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // These errors go to standard error, and would panic if it cannot be written.
        .log_internal_errors(false)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    // A second call, in tests, keeps the first subscriber.
    let _ = match format {
        LogFormat::Text => subscriber.try_init(),
        LogFormat::Json => subscriber.json().try_init(),
    };
    if !is_understood {
        tracing::warn!(
            found = %asked,
            "FEDGATE_LOG: expected error, warn, info, debug or trace, or directives such as \
             info,fedgate_files=debug; info is used"
        );
    }
}

/// The filter for a level or for directives; `info` and false if it is neither. `EnvFilter` takes
/// any other word for the name of a module, and would hide everything else.
fn filter(asked: &str) -> (EnvFilter, bool) {
    let quiet = |level: &str| EnvFilter::new(format!("{level},{QUIET}"));
    let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    let asked = asked.trim();
    if asked.is_empty() {
        return (quiet("info"), true);
    }
    match asked.parse::<LevelFilter>() {
        Ok(level) if level <= LevelFilter::INFO => return (quiet(asked), true),
        Ok(_) => return (EnvFilter::new(asked), true),
        Err(_) => {}
    }
    let is_plausible = asked.split(',').any(|part| part.contains('=') || is_level(part.trim()));
    match EnvFilter::try_new(asked) {
        Ok(filter) if is_plausible => (filter, true),
        _ => (quiet("info"), false),
    }
}

/// The log lines that `happen` causes, one for each event.
#[cfg(test)]
pub(crate) fn captured(happen: impl FnOnce()) -> String {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, happen);
    String::from_utf8(std::mem::take(&mut *lines.0.lock().unwrap())).unwrap()
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn a_level_is_told_from_a_wrong_word() {
        for (asked, is_good, shown, is_quiet) in [
            ("", true, "info", true),
            (" info ", true, "info", true),
            ("WARN", true, "warn", true),
            ("debug", true, "debug", false),
            ("info,fedgate_files=debug", true, "fedgate_files=debug", false),
            ("fedgate_files=trace", true, "fedgate_files=trace", false),
            ("verbose", false, "info", true),
            ("=", false, "info", true),
        ] {
            let (filter, is_understood) = filter(asked);
            let filter = filter.to_string();
            assert!(is_understood == is_good && filter.contains(shown), "{asked:?}: {filter}");
            assert_eq!(filter.contains("kube_client=off"), is_quiet, "{asked:?}: {filter}");
        }
    }
}
