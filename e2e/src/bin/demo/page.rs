//! The page that shows what the demo prints: docs/demo.md. What it prints there is compared with what is printed now, so that it does not grow old.

use anyhow::{Context, Result, ensure};

/// How the printed output begins.
const BEGIN: &str = "Three clusters,";

/// Compares the demo's output on a page with what was said, paragraph by paragraph. Numbers, addresses and line breaks differ from run to run.
///
/// # Errors
/// The first paragraph that differs.
pub(crate) fn compare(page: &str, said: &str) -> Result<()> {
    let block =
        page.split("```\n").find(|block| block.starts_with(BEGIN)).context("the page has no output of the demo")?;
    let (page, said) = (paragraphs(block), paragraphs(said));
    for (place, said) in said.iter().enumerate() {
        let page = page.get(place).map_or("nothing", String::as_str);
        ensure!(page == said, "the page prints\n  {page}\nand the demo\n  {said}");
    }
    ensure!(page.len() == said.len(), "the page prints {} paragraphs, and the demo {}", page.len(), said.len());
    Ok(())
}

fn paragraphs(text: &str) -> Vec<String> {
    text.split("\n\n").map(masked).filter(|paragraph| !paragraph.is_empty()).collect()
}

/// Without what differs: numbers, units of time, and what ends a handshake that a gateway refuses.
fn masked(paragraph: &str) -> String {
    let words = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut masked = String::new();
    for letter in words.chars() {
        match letter {
            '0'..='9' if masked.ends_with('*') => {}
            '0'..='9' => masked.push('*'),
            other => masked.push(other),
        }
    }
    without_tls_errors(&masked.replace("*.*", "*").replace("* ms", "* s"))
}

/// How the two ends of a refused handshake see it depends on who is faster.
fn without_tls_errors(text: &str) -> String {
    let mut parts = text.split(" (tls error ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once(')').map_or(part, |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "Text.\n\n```\nThree clusters, each:\n\n  1. A calls\n     B in 26 ms\n     ok (0.0 s)\n\n  2. C: refused in the handshake (tls error end)\n```\nmore\n";

    #[test]
    fn numbers_and_line_breaks_may_differ_and_nothing_else() {
        let good = "Three clusters, each:\n\n  1. A calls B\n     in 1.3 s\n     ok (12.7 s)\n\n  2. C: refused in the handshake (tls error 104)\n";
        assert!(compare(PAGE, good).is_ok(), "{:?}", compare(PAGE, good));
        for (from, to) in [("A calls", "A asks"), ("refused", "let in"), ("ok", "FAILED"), ("\n\n  2. C", "")] {
            assert!(compare(PAGE, &good.replace(from, to)).is_err(), "{from}");
        }
        assert!(compare(PAGE, &(good.to_owned() + "\n\n  3. more\n")).is_err());
        assert!(compare("no output", good).is_err());
    }
}
