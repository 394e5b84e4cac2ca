//! Panics at the border, which only tests ask for. No module that ships contains this.

/// The environment variable with the path of a file that names the function of the ABI to panic.
#[cfg(not(test))]
const VARIABLE: &str = "FEDGATE_PANIC_FILE";

#[cfg(test)]
thread_local! {
    /// The function of the ABI that must panic on this thread.
    pub(super) static ASKED: std::cell::Cell<&'static str> = const { std::cell::Cell::new("") };
}

#[cfg(test)]
fn is_asked(entry: &str) -> bool {
    ASKED.get() == entry
}

#[cfg(not(test))]
fn is_asked(entry: &str) -> bool {
    let file = std::env::var_os(VARIABLE).and_then(|file| std::fs::read_to_string(file).ok());
    file.is_some_and(|asked| asked == entry)
}

#[allow(clippy::panic, reason = "this is what it is for")]
pub(super) fn panic_if_asked(entry: &str) {
    if is_asked(entry) {
        panic!("a test has asked for a panic in {entry}");
    }
}
