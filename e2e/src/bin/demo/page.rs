//! Compares the demo's output with the copy in docs/demo.md, so that the page stays up to date.

use anyhow::{Context, Result, ensure};

/// The first words of the output.
const BEGIN: &str = "Three clusters,";

/// Compares the output on the page with the real one (`printed`), paragraph by paragraph. Ignores
/// numbers, addresses and line breaks, which vary between runs.
///
/// # Errors
/// When a paragraph differs; the message quotes the first.
pub(crate) fn compare(page: &str, printed: &str) -> Result<()> {
    let block = page
        .split("```\n")
        .find(|block| block.starts_with(BEGIN))
        .context("the page has no output of the demo")?;
    let (page, printed) = (paragraphs(block), paragraphs(printed));
    for (place, printed) in printed.iter().enumerate() {
        let page = page.get(place).map_or("nothing", String::as_str);
        ensure!(page == printed, "the page prints\n  {page}\nand the demo\n  {printed}");
    }
    ensure!(
        page.len() == printed.len(),
        "the page prints {} paragraphs, and the demo {}",
        page.len(),
        printed.len()
    );
    Ok(())
}

fn paragraphs(text: &str) -> Vec<String> {
    text.split("\n\n").map(masked).filter(|paragraph| !paragraph.is_empty()).collect()
}

/// Removes what varies between runs: numbers, units of time, and TLS errors of refused handshakes.
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

/// Removes what OpenSSL or Envoy says of a refused handshake: it depends on which end is faster.
fn without_tls_errors(text: &str) -> String {
    const BEFORE: &str = " in the handshake (";
    let mut parts = text.split(BEFORE);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + " in the handshake" + part.split_once(')').map_or(part, |(_, rest)| rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "Text.\n\n```\nThree clusters, each:\n\n  1. A calls\n     B in 26 ms\n     ok (0.0 s)\n\n  2. C: refused in the handshake (tls error end)\n```\nmore\n";

    #[test]
    fn numbers_and_line_breaks_may_differ_and_nothing_else() {
        let good = "Three clusters, each:\n\n  1. A calls B\n     in 1.3 s\n     ok (12.7 s)\n\n  2. C: refused in the handshake (unknown issuer)\n";
        assert!(compare(PAGE, good).is_ok(), "{:?}", compare(PAGE, good));
        for (from, to) in
            [("A calls", "A asks"), ("refused", "let in"), ("ok", "FAILED"), ("\n\n  2. C", "")]
        {
            assert!(compare(PAGE, &good.replace(from, to)).is_err(), "{from}");
        }
        assert!(compare(PAGE, &(good.to_owned() + "\n\n  3. more\n")).is_err());
        assert!(compare("no output", good).is_err());
    }
}
