//! Parses the small part of Markdown that the documents use.

/// The text from a heading to the next heading of the same or a higher level.
pub(crate) fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let marks = heading.split(' ').next().unwrap_or_default();
    let (_, after) = text
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("there is no heading {heading:?}"));
    after.split_once(&format!("\n{marks} ")).map_or(after, |(section, _)| section)
}

/// The cells of each row of all tables in a text, without table headers.
pub(crate) fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let is_rule = |line: &str| line.starts_with("| ---");
    let lines = text.lines().zip(text.lines().skip(1).chain([""]));
    let rows = lines
        .filter(move |(line, next)| line.starts_with("| ") && !is_rule(line) && !is_rule(next));
    rows.map(|(line, _)| line.split('|').skip(1).map(str::trim).collect())
}

/// The words in backticks, without those in code blocks.
pub(crate) fn code(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    prose.flat_map(|prose| prose.split('`').skip(1).step_by(2)).collect()
}

/// The targets of a text's links, without those in code blocks.
pub(crate) fn links(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    prose
        .flat_map(|prose| prose.split("](").skip(1))
        .filter_map(|rest| Some(rest.split_once(')')?.0))
        .collect()
}

/// The anchors of a page's headings, as GitHub generates them.
pub(crate) fn anchors(page: &str) -> Vec<String> {
    let prose = page.split("```").step_by(2);
    let headings = prose.flat_map(str::lines).filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn the_parser_reads_the_markdown_of_the_documents() {
    let page = "# A\n\n## B `c` (d)\n\n| x | y |\n| --- | --- |\n| `1` | [two](e.md#f) |\n\n```sh\n`no` [no](no)\n```\n\n## G\n\n`h`\n";
    assert_eq!(
        rows(section(page, "## B `c` (d)")).collect::<Vec<_>>(),
        [["`1`", "[two](e.md#f)", ""]]
    );
    assert_eq!(code(section(page, "## G")), ["h"]);
    assert_eq!((code(page), links(page)), (vec!["c", "1", "h"], vec!["e.md#f"]));
    assert_eq!(anchors(page), ["a", "b-c-d", "g"]);
}
