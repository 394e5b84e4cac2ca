//! The filter's gauges, among all metrics of a proxy in Prometheus' text format.

/// The query that makes an Envoy show only these gauges; an agent that merges metrics ignores it.
pub(crate) const QUERY: &str = "filter=fedgate.table.%7Cserver.concurrency";

/// How many bytes of a line are read; the rest is skipped.
const LONGEST: usize = 4096;

/// What a proxy reports of its filter's table.
///
/// The generation alone is not enough: Envoy lets a trial VM accept a table before any of its
/// threads uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Gauges {
    /// The generation that was accepted; `None` if there is no filter, or no table in it.
    pub(crate) generation: Option<u64>,
    /// How many threads have the table in force; `None` for a filter that does not count them.
    threads: Option<u64>,
    /// How many workers the proxy has, if it shows that.
    workers: Option<u64>,
}

impl Gauges {
    /// Returns true if every thread has the table of this generation in force.
    pub(crate) fn have(self, generation: u64) -> bool {
        self.generation == Some(generation) && self.lacking().is_none()
    }

    /// How many threads have the table, and how many there are, if some lack it. In addition to the
    /// workers, the main thread has a VM. A proxy that does not show its workers has at least one.
    pub(crate) fn lacking(self) -> Option<(u64, u64)> {
        let (threads, all) = (self.threads?, self.workers.unwrap_or(1).saturating_add(1));
        (threads < all).then_some((threads, all))
    }

    /// The gauges in a complete text.
    pub(crate) fn in_text(text: &str) -> Self {
        let mut gauges = Self::default();
        text.lines().for_each(|line| gauges.take(line));
        gauges
    }

    /// Takes the value of a line, if it is one of the gauges.
    fn take(&mut self, line: &str) {
        let Some((name, value)) = value(line) else { return };
        let gauge = match name {
            "fedgate_table_generation" => &mut self.generation,
            "fedgate_table_threads" => &mut self.threads,
            "envoy_server_concurrency" => &mut self.workers,
            _ => return,
        };
        *gauge = Some(value);
    }

    fn is_whole(self) -> bool {
        self.generation.is_some() && self.threads.is_some() && self.workers.is_some()
    }
}

fn value(line: &str) -> Option<(&str, u64)> {
    let (series, value) = line.trim_end().rsplit_once(' ')?;
    Some((series.split('{').next()?, value.parse().ok()?))
}

/// Searches for the gauges in a text that comes in pieces. Keeps only an unfinished line.
#[derive(Debug, Default)]
pub(crate) struct Search {
    line: Vec<u8>,
    gauges: Gauges,
}

impl Search {
    /// Takes the next piece; returns the gauges as soon as all are found.
    pub(crate) fn piece(&mut self, piece: &[u8]) -> Option<Gauges> {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let room = LONGEST.saturating_sub(self.line.len());
            self.line.extend(part.iter().take(room));
            if part.ends_with(b"\n") {
                self.end();
            }
        }
        Some(self.gauges).filter(|gauges| gauges.is_whole())
    }

    /// Ends the text.
    pub(crate) fn end(&mut self) -> Gauges {
        let line = std::mem::take(&mut self.line);
        if let Ok(line) = std::str::from_utf8(&line) {
            self.gauges.take(line.trim_end());
        }
        self.gauges
    }
}

#[cfg(test)]
impl Gauges {
    /// A proxy with two workers on which all threads have the table.
    pub(crate) fn everywhere(generation: u64) -> Self {
        Self { generation: Some(generation), threads: Some(3), workers: Some(2) }
    }

    /// The same with only this many threads.
    pub(crate) fn on_threads(generation: u64, threads: u64) -> Self {
        Self { threads: Some(threads), ..Self::everywhere(generation) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE fedgate_table_generation gauge\nfedgate_table_generation_x{} 1\nfedgate_table_generation{} 7\n\
        fedgate_table_threads{} 3\nother{} 9\nenvoy_server_concurrency{} 2\n";

    #[test]
    fn the_gauges_are_found_among_other_metrics() {
        assert_eq!(Gauges::in_text(TEXT), Gauges::everywhere(7));
        assert_eq!(Gauges::in_text("# TYPE fedgate_table_generation gauge\n"), Gauges::default());
    }

    #[test]
    fn the_gauges_are_found_across_pieces() {
        for size in [1, 5, 64, 4096] {
            let mut search = Search::default();
            let found = TEXT.as_bytes().chunks(size).find_map(|piece| search.piece(piece));
            assert_eq!(found, Some(Gauges::everywhere(7)), "{size}");
        }
        let mut search = Search::default();
        assert_eq!(search.piece(b"fedgate_table_generation 12"), None);
        assert_eq!(search.end().generation, Some(12), "without an end of line");
    }

    #[test]
    fn a_table_is_loaded_when_every_thread_has_it() {
        let gauges = |threads, workers| Gauges { generation: Some(7), threads, workers };
        for (threads, workers, lacking) in [
            (Some(3), Some(2), None),
            (Some(4), Some(2), None),
            (Some(2), Some(2), Some((2, 3))),
            (Some(0), Some(2), Some((0, 3))),
            (Some(1), None, Some((1, 2))),
            (Some(2), None, None),
            (None, Some(2), None),
        ] {
            let gauges = gauges(threads, workers);
            assert_eq!(gauges.lacking(), lacking, "{gauges:?}");
            assert_eq!((gauges.have(7), gauges.have(8)), (lacking.is_none(), false), "{gauges:?}");
        }
    }

    #[test]
    fn an_endless_line_takes_no_memory() {
        let mut search = Search::default();
        for _ in 0..100 {
            assert_eq!(search.piece(&[b'x'; 1000]), None);
        }
        assert!(search.line.len() <= LONGEST);
        search.piece(b"\nfedgate_table_generation 3\n");
        assert_eq!(search.end().generation, Some(3));
    }
}
