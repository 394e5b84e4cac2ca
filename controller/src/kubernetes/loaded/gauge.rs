//! The filter's gauge, among everything that a proxy counts, in Prometheus' text.

/// The query by which an Envoy shows the one gauge; who merges Envoy's counters with others' passes it over.
pub(crate) const QUERY: &str = "filter=fedgate.table.generation";
/// The gauge, as it is shown there.
const GAUGE: &str = "fedgate_table_generation";

/// The most bytes of a line that are looked at.
const LONGEST: usize = 4096;

/// The gauge's value in a whole text.
pub(crate) fn in_text(text: &str) -> Option<u64> {
    text.lines().find_map(in_line)
}

/// The gauge's value, if this line has it.
fn in_line(line: &str) -> Option<u64> {
    let rest = line.strip_prefix(GAUGE).filter(|rest| rest.starts_with(['{', ' ']))?;
    rest.trim_end().rsplit_once(' ')?.1.parse().ok()
}

/// Looks for the gauge in a text that comes in pieces, of which nothing is kept but an unfinished line.
#[derive(Debug, Default)]
pub(crate) struct Search {
    line: Vec<u8>,
}

impl Search {
    /// The next piece; the value as soon as it is there.
    pub(crate) fn piece(&mut self, piece: &[u8]) -> Option<u64> {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let room = LONGEST.saturating_sub(self.line.len());
            self.line.extend(part.iter().take(room));
            if part.ends_with(b"\n") {
                let found = self.end();
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    /// The text has ended.
    pub(crate) fn end(&mut self) -> Option<u64> {
        let line = std::mem::take(&mut self.line);
        std::str::from_utf8(&line).ok().and_then(|line| in_line(line.trim_end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE fedgate_table_generation gauge\nfedgate_table_generation_x{} 1\nfedgate_table_generation{} 7\nother{} 9\n";

    #[test]
    fn the_gauge_is_found_among_others() {
        assert_eq!(in_text(TEXT), Some(7));
        assert_eq!(in_text("# TYPE fedgate_table_generation gauge\n"), None);
    }

    #[test]
    fn the_gauge_is_found_in_pieces() {
        for size in [1, 5, 64, 4096] {
            let mut search = Search::default();
            let found = TEXT.as_bytes().chunks(size).find_map(|piece| search.piece(piece));
            assert_eq!(found, Some(7), "{size}");
        }
        let mut search = Search::default();
        assert_eq!(search.piece(b"fedgate_table_generation 12"), None);
        assert_eq!(search.end(), Some(12), "without an end of line");
    }

    #[test]
    fn a_line_without_an_end_takes_no_memory() {
        let mut search = Search::default();
        for _ in 0..100 {
            assert_eq!(search.piece(&[b'x'; 1000]), None);
        }
        assert!(search.line.len() <= LONGEST);
        assert_eq!(search.piece(b"\nfedgate_table_generation 3\n"), Some(3));
    }
}
