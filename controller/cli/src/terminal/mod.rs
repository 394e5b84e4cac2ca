//! The terminal that a command writes to: its width, its colours, and what a command may do with
//! it.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`layout`] | blocks of rows that fit into a width |
//! | [`screen`] | a screen that is drawn again and again, and left as it was |
//! | [`job_control`] | giving the terminal back while the command is suspended |
//! | [`progress`] | one line about a long step, which goes when the step ends |
//!
//! In a pipe there is no width, colour, screen or progress: a row is one line, so that scripts can
//! search it.

mod job_control;
pub(crate) mod layout;
pub(crate) mod progress;
pub(crate) mod screen;

use clap::ValueEnum;
use std::fmt::Write as _;
use std::io::{self, IsTerminal};

/// The width of a terminal that does not know its own.
const USUAL_WIDTH: usize = 80;

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb
    #[default]
    Auto,
    /// Always, also in a pipe
    Always,
    /// Never
    Never,
}

/// Where a command's answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// Columns of a terminal; `None` without a limit.
    pub(crate) width: Option<usize>,
    /// Lines of a terminal; `None` without a limit.
    pub(crate) height: Option<usize>,
    /// Whether the answer has colours.
    pub(crate) color: bool,
    /// Whether a person looks at it.
    pub(crate) is_terminal: bool,
}

/// How a text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Style {
    #[default]
    Plain,
    Heading,
    Good,
    Warning,
    Bad,
    Faint,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Heading => "1",
            Self::Good => "32",
            Self::Warning => "33",
            Self::Bad => "1;31",
            Self::Faint => "2",
        }
    }
}

impl Terminal {
    /// A pipe.
    pub(crate) const PIPE: Self =
        Self { width: None, height: None, color: false, is_terminal: false };

    /// Standard output.
    pub(crate) fn of_stdout(choice: ColorChoice) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let size = is_terminal.then(|| size(io::stdout()));
        let color = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => is_terminal && wants_color(|name| std::env::var_os(name)),
        };
        Self {
            width: size.map(|(width, _)| width),
            height: size.and_then(|(_, height)| height),
            color,
            is_terminal,
        }
    }

    /// The same, with the size that it has now.
    pub(crate) fn resized(self) -> Self {
        if !self.is_terminal {
            return self;
        }
        let (width, height) = size(io::stdout());
        Self { width: Some(width), height, ..self }
    }

    /// The same, without a limit of its width.
    pub(crate) fn unlimited(self) -> Self {
        Self { width: None, ..self }
    }

    /// A text in a style.
    pub(crate) fn paint(self, style: Style, text: &str) -> String {
        match style.code() {
            code if self.color && !code.is_empty() && !text.is_empty() => {
                format!("\x1b[{code}m{text}\x1b[0m")
            }
            _ => text.to_owned(),
        }
    }
}

/// See <https://no-color.org>.
fn wants_color(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> bool {
    let is_set = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
    !is_set && variable("TERM").is_none_or(|term| term != "dumb")
}

/// Columns and lines.
fn size(of: impl std::os::fd::AsFd) -> (usize, Option<usize>) {
    let size = rustix::termios::tcgetwinsize(of).ok();
    let number = |value: u16| Some(usize::from(value)).filter(|value| *value > 0);
    let width = size.and_then(|size| number(size.ws_col)).unwrap_or(USUAL_WIDTH);
    (width, size.and_then(|size| number(size.ws_row)))
}

/// A text without what a terminal would take for commands. Messages may quote strangers.
pub(crate) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\t' => out.push(' '),
            // Direction marks could make a name look like another one.
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(letter));
            }
            letter if letter.is_control() => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_follow_the_environment() {
        let with = |set: &'static [(&str, &str)]| {
            wants_color(move |name| {
                set.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
            })
        };
        assert!(with(&[]) && with(&[("NO_COLOR", "")]) && with(&[("TERM", "xterm")]));
        assert!(!with(&[("NO_COLOR", "1")]) && !with(&[("TERM", "dumb")]));
    }

    #[test]
    fn only_a_terminal_with_colours_gets_codes() {
        let colored = Terminal { color: true, ..Terminal::PIPE };
        assert_eq!(colored.paint(Style::Good, "ready"), "\x1b[32mready\x1b[0m");
        assert_eq!(colored.paint(Style::Plain, "x"), "x");
        assert_eq!(Terminal::PIPE.paint(Style::Good, "ready"), "ready");
    }

    #[test]
    fn a_strangers_text_moves_no_cursor() {
        assert_eq!(harmless("a\x1b[2Jb\tc\u{202e}d\r"), "a\\u{1b}[2Jb c\\u{202e}d\\u{d}");
        assert_eq!(harmless("größe √"), "größe √");
    }
}
