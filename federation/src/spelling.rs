//! What a misspelt word was meant to be.

/// The most characters of a word that are compared.
const LONGEST: usize = 64;

/// The known word that was most likely meant: at most a third of its letters differ.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let away = |other: &'a str| (other, distance(&word, &other.to_lowercase()));
    let (nearest, away) = known.into_iter().map(away).min_by_key(|(_, away)| *away)?;
    (away <= nearest.chars().count() / 3).then_some(nearest)
}

/// Levenshtein's distance of two words.
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(LONGEST).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(LONGEST).enumerate() {
        row = next_row(&row, i + 1, from, &b);
    }
    row.last().copied().unwrap_or_default()
}

fn next_row(row: &[usize], first: usize, from: char, b: &[char]) -> Vec<usize> {
    let mut next = vec![first];
    for ((pair, to), left) in row.windows(2).zip(b).zip(first..) {
        let [diagonal, above] = pair else { continue };
        let left = next.last().copied().unwrap_or(left);
        next.push((diagonal + usize::from(from != *to)).min(above + 1).min(left + 1));
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_levenshtein() {
        for (a, b, away) in [("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3), ("gama", "gamma", 1)] {
            assert_eq!(distance(a, b), away, "{a} {b}");
            assert_eq!(distance(b, a), away, "{b} {a}");
        }
    }

    #[test]
    fn the_nearest_word_is_meant_unless_it_is_too_far() {
        let known = ["beta", "gamma", "delta"];
        assert_eq!(nearest("Gama", known), Some("gamma"));
        assert_eq!(nearest("omega", known), None);
        assert_eq!(nearest("x", []), None);
    }
}
