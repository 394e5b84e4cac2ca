//! Blocks of rows that fit into a width. Nothing is shortened, because people copy names: what does
//! not fit is wrapped.

use super::{Style, Terminal, harmless};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The space before a row.
const MARGIN: usize = 2;
/// The space between columns.
const GAP: usize = 2;
/// The space before what follows in a row that is wrapped.
const INDENT: usize = 6;

/// A cell of a row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) style: Style,
}

impl Cell {
    /// A text in a style.
    pub(crate) fn new(style: Style, text: &str) -> Self {
        Self { text: harmless(text), style }
    }

    fn width(&self) -> usize {
        self.text.width()
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::new(Style::Plain, &text)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::new(Style::Plain, text)
    }
}

/// A block: a heading with the number of rows, and aligned columns below it. The last column is not
/// padded.
pub(crate) fn block(heading: &str, rows: &[Vec<Cell>], terminal: Terminal) -> String {
    let title = terminal.paint(Style::Heading, &format!("{heading} ({})", rows.len()));
    format!("\n{title}\n{}", aligned(rows, terminal))
}

/// Rows with aligned columns.
pub(crate) fn aligned(rows: &[Vec<Cell>], terminal: Terminal) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let last = columns.saturating_sub(1);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(Cell::width).max();
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let before: usize = MARGIN + widths.iter().take(last).map(|width| width + GAP).sum::<usize>();
    let whole = before + widths.get(last).copied().unwrap_or_default();
    let form = match terminal.width {
        None => Form::Lines,
        Some(limit) if whole <= limit => Form::Lines,
        // Two thirds for what precedes the text still leave it a readable third.
        Some(limit) if before <= limit * 2 / 3 => Form::Hanging { limit, before },
        Some(limit) => Form::Stacked { limit },
    };
    rows.iter().map(|row| self::row(row, &widths, form, terminal)).collect()
}

/// How a block is laid out.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// A row is a line.
    Lines,
    /// The last column is wrapped within itself.
    Hanging { limit: usize, before: usize },
    /// The first column stands alone, and the rest is wrapped below it.
    Stacked { limit: usize },
}

fn row(row: &[Cell], widths: &[usize], form: Form, terminal: Terminal) -> String {
    if let Form::Stacked { limit } = form {
        return stacked(row, limit, terminal);
    }
    let Some((last, columns)) = row.split_last() else { return "\n".to_owned() };
    let mut line = " ".repeat(MARGIN);
    for (cell, width) in columns.iter().zip(widths) {
        line += &terminal.paint(cell.style, &cell.text);
        line += &" ".repeat(width.saturating_sub(cell.width()) + GAP);
    }
    match form {
        Form::Hanging { limit, before } if columns.len() + 1 == widths.len() => {
            let lines = wrapped(&last.text, limit.saturating_sub(before));
            hang(line, &lines, last.style, before, terminal)
        }
        // A short row has no last column.
        Form::Hanging { limit, .. } if MARGIN + row_width(row) > limit => {
            stacked(row, limit, terminal)
        }
        _ => {
            line += &terminal.paint(last.style, &last.text);
            format!("{}\n", line.trim_end())
        }
    }
}

fn row_width(row: &[Cell]) -> usize {
    row.iter().map(|cell| cell.width() + GAP).sum()
}

fn stacked(row: &[Cell], limit: usize, terminal: Terminal) -> String {
    let Some((first, rest)) = row.split_first() else { return "\n".to_owned() };
    let mut out = hang(
        " ".repeat(MARGIN),
        &wrapped(&first.text, limit.saturating_sub(MARGIN)),
        first.style,
        MARGIN,
        terminal,
    );
    for cell in rest.iter().filter(|cell| !cell.text.is_empty()) {
        let lines = wrapped(&cell.text, limit.saturating_sub(INDENT));
        out += &hang(" ".repeat(INDENT), &lines, cell.style, INDENT, terminal);
    }
    out
}

/// Lines below each other, the first one after `line`.
fn hang(line: String, lines: &[String], style: Style, indent: usize, terminal: Terminal) -> String {
    let mut out = line;
    for (number, text) in lines.iter().enumerate() {
        if number > 0 {
            out += &" ".repeat(indent);
        }
        out += &terminal.paint(style, text);
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

/// A text in lines of at most `width` columns, broken at spaces, and within a word only if the word
/// alone is wider. Returns at least one line.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().map_or(0, |line| line.width());
        let space = usize::from(line > 0);
        if line > 0 && line + space + word.width() > width {
            lines.push(String::new());
        } else if space > 0
            && let Some(line) = lines.last_mut()
        {
            line.push(' ');
        }
        push(&mut lines, word, width);
    }
    lines
}

fn push(lines: &mut Vec<String>, word: &str, width: usize) {
    for letter in word.chars() {
        let full = lines.last().is_some_and(|line| {
            !line.is_empty() && line.width() + letter.width().unwrap_or(0) > width
        });
        if full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            line.push(letter);
        }
    }
}

/// A paragraph with a first line after `start`, and the same indent below it.
pub(crate) fn paragraph(start: &str, text: &str, style: Style, terminal: Terminal) -> String {
    let indent = start.width();
    let text = harmless(text);
    let lines = match terminal.width {
        Some(limit) => wrapped(&text, limit.saturating_sub(indent)),
        None => vec![text],
    };
    hang(start.to_owned(), &lines, style, indent, terminal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal(width: usize) -> Terminal {
        Terminal { width: Some(width), is_terminal: true, ..Terminal::PIPE }
    }

    fn rows() -> Vec<Vec<Cell>> {
        [
            ["beta", "beta.example", "ready"],
            ["gamma-2", "gamma.example", "NOT READY: it does not answer"],
        ]
        .map(|row| row.map(Cell::from).to_vec())
        .to_vec()
    }

    #[test]
    fn a_row_is_a_line_where_there_is_room() {
        let expected = "\npeers (2)\n  beta     beta.example   ready\n  gamma-2  gamma.example  NOT READY: it does not answer\n";
        assert_eq!(block("peers", &rows(), Terminal::PIPE), expected);
        assert_eq!(block("peers", &rows(), terminal(80)), expected);
        assert_eq!(block("peers", &[], terminal(80)), "\npeers (0)\n");
    }

    #[test]
    fn the_last_column_is_wrapped_within_itself() {
        let expected = "  beta     beta.example   ready\n  gamma-2  gamma.example  NOT READY: it does\n                          not answer\n";
        assert_eq!(aligned(&rows(), terminal(46)), expected);
    }

    #[test]
    fn a_narrow_terminal_gets_the_columns_below_each_other() {
        let expected = "  beta\n      beta.example\n      ready\n  gamma-2\n      gamma.example\n      NOT READY: it does\n      not answer\n";
        assert_eq!(aligned(&rows(), terminal(26)), expected);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_nothing_is_lost() {
        let long = "x".repeat(90);
        let row = ["größe", "日本語日本語", &long, "a b  c"].map(Cell::from).to_vec();
        for width in 1..200 {
            let out = aligned(std::slice::from_ref(&row), terminal(width));
            let widest = out.lines().map(UnicodeWidthStr::width).max().unwrap();
            // Below these widths the indent alone, or one letter, is too wide.
            assert!(widest <= width.max(INDENT + 2), "{width}: {out}");
            let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count();
            assert_eq!(letters(&out), 5 + 6 + 90 + 3, "{width}");
        }
    }

    #[test]
    fn colours_take_no_room() {
        let row = [Cell::new(Style::Bad, "a"), Cell::from("b")].to_vec();
        let plain = aligned(&[row.clone(), ["cc", "d"].map(Cell::from).to_vec()], terminal(80));
        assert_eq!(plain, "  a   b\n  cc  d\n");
        let terminal = Terminal { color: true, ..terminal(80) };
        let colored = aligned(&[row, ["cc", "d"].map(Cell::from).to_vec()], terminal);
        assert_eq!(colored, "  \x1b[1;31ma\x1b[0m   b\n  cc  d\n");
    }
}
