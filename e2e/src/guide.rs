//! Runs the commands on pages of `docs/` as a reader types them, and compares the outputs printed
//! there with the real ones.
//!
//! Blocks with the language `sh` are run. The next block of another language is the expected
//! output, unless it begins with `$ `: such a block is a command for the reader only. A line `…`
//! stands for any number of lines. What varies between runs is not compared: see `masked`.

use anyhow::{Result, ensure};
use jiff::Timestamp;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use uuid::Uuid;

/// Printed by the script between two blocks.
const MARK: &str = "--- next block";
/// Stands for any number of lines.
const ELLIPSIS: &str = "…";

/// Commands that run together, and the output that the page shows for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The commands.
    pub commands: String,
    /// Their expected output, if the page shows it.
    pub output: Option<String>,
}

impl Block {
    /// The first difference between the page's output and the real one (`printed`), if there is one.
    fn difference(&self, printed: &str) -> Option<String> {
        let expected = self.output.as_ref()?;
        let what = compare(expected, printed).err()?;
        let commands = &self.commands;
        Some(format!(
            "the page prints for\n{commands}\nwhat was not printed: {what}\n--- page:\n{expected}\n--- printed:{printed}"
        ))
    }
}

/// The blocks of a page, or of part of a page.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let fences = page.split("```").skip(1).step_by(2);
    for (language, text) in fences.filter_map(|fence| fence.split_once('\n')) {
        match blocks.last_mut() {
            _ if language == "sh" => blocks.push(Block { commands: text.to_owned(), output: None }),
            Some(Block { output: output @ None, .. }) if !text.starts_with("$ ") => {
                *output = Some(text.to_owned())
            }
            _ => {}
        }
    }
    blocks
}

/// A script that runs all blocks.
pub fn script(blocks: &[Block]) -> String {
    blocks.iter().map(|block| format!("{}\necho '{MARK}'\n", block.commands)).collect()
}

/// Checks that each block printed what the page shows.
///
/// # Errors
/// When one did not; the message has both outputs.
pub fn check(blocks: &[Block], printed: &str) -> Result<()> {
    ensure!(blocks.iter().any(|block| block.output.is_some()), "no block says what it prints");
    let parts: Vec<_> = printed.split(MARK).collect();
    ensure!(
        parts.len() == blocks.len() + 1,
        "{} of {} blocks have been run:\n{printed}",
        parts.len() - 1,
        blocks.len()
    );
    let wrong: Vec<_> =
        blocks.iter().zip(parts).filter_map(|(block, printed)| block.difference(printed)).collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Compares line by line. `Err` is the first missing or unexpected line.
fn compare(expected: &str, printed: &str) -> Result<(), String> {
    let printed: Vec<_> =
        printed.lines().filter(|line| !line.trim().is_empty()).map(masked).collect();
    let (mut next, mut skips) = (printed.iter(), false);
    for line in expected.lines().filter(|line| !line.trim().is_empty()) {
        if line == ELLIPSIS {
            skips = true;
            continue;
        }
        let wanted = masked(line);
        let found = if skips {
            next.any(|printed| *printed == wanted)
        } else {
            next.next() == Some(&wanted)
        };
        if !found {
            return Err(format!("{line:?}"));
        }
        skips = false;
    }
    match next.next() {
        Some(more) if !skips => Err(format!("the page lacks {more:?}")),
        _ => Ok(()),
    }
}

/// Masks what varies between runs: UUIDs, times, hashes, addresses, dynamically chosen ports, ages
/// and generations.
fn masked(line: &str) -> String {
    if line.starts_with("LAST DEPLOYED:") {
        return "LAST DEPLOYED: *".to_owned();
    }
    // The last line of `fedgate check`: its numbers depend on the installation.
    if line.contains(" ok, ") && line.ends_with(" skipped") {
        return "totals".to_owned();
    }
    let mut masked = String::new();
    let mut generation = false;
    for word in line.split_whitespace() {
        let bare = word.trim_end_matches([',', '.', ';']);
        let word = if generation { "*".to_owned() } else { word.replace(bare, &masked_word(bare)) };
        generation = bare == "generation";
        let _ = write!(masked, "{word} ");
    }
    masked
}

/// An age as kubectl prints it: `9s`, `2m9s`, `4d`.
fn is_age(word: &str) -> bool {
    let mut parts = word.split_inclusive(|letter: char| letter.is_ascii_alphabetic());
    let is_part = |part: &str| {
        let number = part.strip_suffix(['s', 'm', 'h', 'd']);
        number.is_some_and(|number| {
            !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
        })
    };
    !word.is_empty() && parts.all(is_part)
}

fn masked_word(word: &str) -> String {
    if word.starts_with("sha256:") {
        return "sha256:*".to_owned();
    }
    if let Ok(SocketAddr::V4(address)) = word.parse() {
        return format!("{}:*", address.ip());
    }
    let ports = word.strip_suffix("/TCP").is_some_and(|ports| ports.contains(':'));
    let age = is_age(word);
    let varies = word.parse::<Uuid>().is_ok()
        || word.parse::<Timestamp>().is_ok()
        || word.parse::<IpAddr>().is_ok();
    if varies || ports || age { "*".to_owned() } else { word.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "Text.\n```sh\nfirst\n```\nMore.\n```\na 1\nb 2\n```\n```console\n$ not run\n```\n```sh\nsecond\n```\n";

    #[test]
    fn a_block_includes_the_output_after_it() {
        let block = |commands: &str, output: Option<&str>| Block {
            commands: commands.to_owned(),
            output: output.map(str::to_owned),
        };
        assert_eq!(blocks(PAGE), [block("first\n", Some("a 1\nb 2\n")), block("second\n", None)]);
    }

    #[test]
    fn a_different_output_is_reported() {
        let blocks = blocks(PAGE);
        let printed = |first: &str| format!("{first}{MARK}\nwhatever\n{MARK}\n");
        assert!(check(&blocks, &printed("a 1\nb  2\n")).is_ok());
        for wrong in ["a 1\n", "a 1\nb 3\n", "a 1\nb 2\nc 3\n"] {
            assert!(check(&blocks, &printed(wrong)).is_err(), "{wrong}");
        }
        assert!(check(&blocks, "a 1\nb 2\n").is_err(), "the second block was not run");
    }

    #[test]
    fn skipped_lines_and_varying_values_are_ignored() {
        assert_eq!(compare("a\n…\nd\n", "a\nb\nc\nd\n"), Ok(()));
        assert!(compare("a\n…\nd\n", "a\nb\nd\ne\n").is_err());
        let line = "table generation 1, at 127.0.1.1:15163, 243 bytes, 2026-11-23T03:50:49Z";
        assert_eq!(
            masked(line),
            masked(&line.replace("1,", "812,").replace("15163", "15101").replace("03:50", "04:50"))
        );
        assert_ne!(masked(line), masked(&line.replace("243", "139")));
        assert_eq!(
            masked("web 10.0.1.2 443:30099/TCP 9s"),
            masked("web 10.9.1.2 443:31000/TCP 12m3s")
        );
        let uuid = "cluster 2b4ac23c-e347-401a-9d25-954e559e25ad";
        assert_eq!(masked(uuid), "cluster * ");
    }
}
