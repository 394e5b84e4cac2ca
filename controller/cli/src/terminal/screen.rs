//! A screen that is drawn again and again. It is the terminal's alternate screen, so the terminal
//! shows afterwards what it showed before, also after a signal or a panic, and while the command is
//! suspended (Ctrl-Z).

use super::Terminal;
use super::job_control::{JobControl, Request, in_foreground, stop};
use crate::command::out;
use std::convert::Infallible;
use unicode_width::UnicodeWidthChar;

const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// The screen. Dropping it leaves it.
pub(crate) struct Screen {
    /// What it shows, or would show if the command were in the foreground.
    latest: Option<(String, Terminal)>,
    is_entered: bool,
    job_control: Option<JobControl>,
}

impl Screen {
    /// Enters the screen. Ctrl-Z is handled from now on, by [`Self::obey_job_control`].
    pub(crate) fn enter() -> Self {
        let mut screen =
            Self { latest: None, is_entered: false, job_control: JobControl::new().ok() };
        screen.show();
        screen
    }

    /// Draws a text, if the screen does not show it already. What is too long is cut off with a
    /// note.
    pub(crate) fn draw(&mut self, text: &str, terminal: Terminal) {
        let now = Some((text.to_owned(), terminal));
        if self.latest != now || !self.is_entered {
            self.latest = now;
            self.show();
        }
    }

    /// Lets the user suspend the command and continue it. Never ends.
    pub(crate) async fn obey_job_control(&mut self) -> Infallible {
        loop {
            let Some(job_control) = &mut self.job_control else { std::future::pending().await };
            match job_control.next().await {
                Request::Stop => {
                    self.leave();
                    stop();
                }
                // After a stop that no program can notice, the shell has used the screen.
                Request::Continued => self.leave(),
            }
            self.latest = self.latest.take().map(|(text, was)| (text, was.resized()));
            self.show();
        }
    }

    /// Shows the latest text. In the background the terminal is someone else's.
    fn show(&mut self) {
        if !in_foreground() {
            return;
        }
        if !std::mem::replace(&mut self.is_entered, true) {
            out::print(format_args!("{ENTER}"));
        }
        if let Some((text, terminal)) = &self.latest {
            out::print(format_args!("{}", frame(text, *terminal)));
        }
    }

    fn leave(&mut self) {
        if std::mem::take(&mut self.is_entered) {
            out::print(format_args!("{LEAVE}"));
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The screen's lines in place of those that it shows. Nothing is cleared first, so it does not
/// flicker.
fn frame(text: &str, terminal: Terminal) -> String {
    let lines: Vec<_> = text.lines().collect();
    let room = terminal.height.unwrap_or(lines.len()).max(1);
    let shown = if lines.len() > room { room - 1 } else { lines.len() };
    let mut out = "\x1b[H".to_owned();
    let more = (lines.len() > shown).then(|| {
        format!("… {} more lines: enlarge the terminal, or use a pipe", lines.len() - shown)
    });
    let drawn = lines.iter().take(shown).copied().chain(more.as_deref());
    for (number, line) in drawn.enumerate() {
        if number > 0 {
            out += "\r\n";
        }
        let (line, width) = clipped(line, terminal.width.unwrap_or(usize::MAX));
        out += &line;
        // At the right margin this would erase the last letter.
        if terminal.width.is_none_or(|limit| width < limit) {
            out += "\x1b[K";
        }
    }
    out + "\x1b[J"
}

/// The part of a line that fits, with its width and all of its colours. A longer line would make the
/// terminal scroll.
fn clipped(line: &str, limit: usize) -> (String, usize) {
    let (mut out, mut width, mut in_code) = (String::new(), 0, false);
    for letter in line.chars() {
        in_code |= letter == '\x1b';
        let is_code = in_code;
        in_code &= letter != 'm';
        let wide = if is_code { 0 } else { letter.width().unwrap_or(0) };
        if is_code || width + wide <= limit {
            out.push(letter);
            width += wide;
        }
    }
    (out, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_replaces_what_was_shown() {
        let terminal = Terminal { width: Some(3), height: Some(3), ..Terminal::PIPE };
        assert_eq!(frame("ab\nabc\n", terminal), "\x1b[Hab\x1b[K\r\nabc\x1b[J");
        let cut = frame("1\n2\n3\n4\n", Terminal { width: Some(80), ..terminal });
        assert_eq!(
            cut,
            "\x1b[H1\x1b[K\r\n2\x1b[K\r\n… 2 more lines: enlarge the terminal, or use a pipe\x1b[K\x1b[J"
        );
        let red = frame("\x1b[31mabcd\x1b[0m", terminal);
        assert_eq!(red, "\x1b[H\x1b[31mabc\x1b[0m\x1b[J");
    }
}
