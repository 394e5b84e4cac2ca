//! Text for findings.

use std::fmt::{self, Write};

/// The most characters of untrusted text that are shown.
const SHOWN: usize = 100;
/// The most characters of a message.
const SHOWN_LONG: usize = 1000;

/// Makes untrusted text fit for a terminal and a status: escapes control and formatting characters,
/// and cuts after 100 characters. `{:?}` puts it in quotes.
pub fn shown(text: &str) -> Shown<'_> {
    Shown { text, most: SHOWN }
}

/// Does the same for a whole message that may contain untrusted text: cuts after 1000 characters.
pub(crate) fn shown_long(text: &str) -> Shown<'_> {
    Shown { text, most: SHOWN_LONG }
}

/// Untrusted text on its way into a message. Each character is escaped once, in quotes as well.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    text: &'a str,
    most: usize,
}

impl Shown<'_> {
    fn write(&self, f: &mut fmt::Formatter<'_>, quoted: bool) -> fmt::Result {
        for c in self.text.chars().take(self.most) {
            match c {
                // Bidirectional controls and the like reorder the text that follows them on a screen.
                '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}' => write!(f, "{}", c.escape_unicode())?,
                '"' | '\\' if quoted => write!(f, "\\{c}")?,
                c if c.is_control() => write!(f, "{}", c.escape_default())?,
                c => f.write_char(c)?,
            }
        }
        match self.text.chars().nth(self.most) {
            Some(_) => f.write_char('…'),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, false)
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        self.write(f, true)?;
        f.write_char('"')
    }
}

/// Joins the first three messages and says how many more there are.
pub(crate) fn messages<T: AsRef<str>>(mut messages: impl ExactSizeIterator<Item = T>) -> String {
    let mut message = String::new();
    for (index, next) in messages.by_ref().take(3).enumerate() {
        if index > 0 {
            message.push_str("; ");
        }
        message.push_str(next.as_ref());
    }
    match messages.len() {
        0 => message,
        more => format!("{message}; and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untrusted_text_is_shortened_and_escaped() {
        let red = shown("web\n\u{1b}[31mred\u{202e}x");
        assert_eq!(red.to_string(), "web\\n\\u{1b}[31mred\\u{202e}x");
        assert_eq!(shown(&"ä".repeat(200)).to_string().chars().count(), 101);
        assert_eq!(shown("web.shop").to_string(), "web.shop");
        // In quotes each character is escaped once too.
        assert_eq!(format!("{red:?}"), "\"web\\n\\u{1b}[31mred\\u{202e}x\"");
        assert_eq!(format!("{:?}", shown("a\"b\\n")), "\"a\\\"b\\\\n\"");
        assert_eq!(format!("{:?}", shown(&"ä".repeat(200))).chars().count(), 103);
    }
}
