//! Text for findings.

/// The most characters of untrusted text that are shown.
const SHOWN: usize = 100;
/// The most characters of a message.
const SHOWN_LONG: usize = 1000;

/// Makes untrusted text fit for a terminal and a status: escapes control and formatting characters,
/// and cuts after 100 characters.
pub fn shown(text: &str) -> String {
    shown_up_to(text, SHOWN)
}

/// Does the same for a whole message that may contain untrusted text: cuts after 1000 characters.
pub(crate) fn shown_long(text: &str) -> String {
    shown_up_to(text, SHOWN_LONG)
}

fn shown_up_to(text: &str, most: usize) -> String {
    let mut out = String::new();
    for c in text.chars().take(most) {
        match c {
            // Bidirectional controls and the like reorder the text that follows them on a screen.
            '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}' => out.extend(c.escape_unicode()),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    if text.chars().nth(most).is_some() {
        out.push('…');
    }
    out
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
        assert_eq!(shown("web\n\u{1b}[31mred\u{202e}x"), "web\\n\\u{1b}[31mred\\u{202e}x");
        assert_eq!(shown(&"ä".repeat(200)).chars().count(), 101);
        assert_eq!(shown("web.shop"), "web.shop");
    }
}
