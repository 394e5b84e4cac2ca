//! Guesses the word that a misspelt one was meant to be.

/// The most characters of a word that are compared.
const LONGEST: usize = 64;

/// Returns the known word that was most likely meant. At most a third of its letters differ.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let distance_to = |other: &'a str| (other, distance(&word, &other.to_lowercase()));
    let (nearest, distance) =
        known.into_iter().map(distance_to).min_by_key(|(_, distance)| *distance)?;
    (distance <= nearest.chars().count() / 3).then_some(nearest)
}

/// Returns the Levenshtein distance of two words.
pub fn distance(a: &str, b: &str) -> usize {
    strsim::levenshtein(beginning(a), beginning(b))
}

/// An untrusted word may be as long as a file.
fn beginning(word: &str) -> &str {
    word.char_indices().nth(LONGEST).map_or(word, |(end, _)| word.get(..end).unwrap_or(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshtein_distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
            ("gama", "gamma", 1),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
        // Only the beginnings are compared.
        let (short, long) = ("ä".repeat(LONGEST), "ä".repeat(100 * LONGEST));
        assert_eq!((distance(&short, &long), distance(&short, &short[2..])), (0, 1));
    }

    #[test]
    fn the_nearest_word_is_suggested_unless_it_is_too_far() {
        let known = ["beta", "gamma", "delta"];
        assert_eq!(nearest("Gama", known), Some("gamma"));
        assert_eq!(nearest("omega", known), None);
        assert_eq!(nearest("x", []), None);
    }
}
