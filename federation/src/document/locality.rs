use serde::{Deserialize, Serialize};

/// Where something runs, as Istio writes it: `REGION`, `REGION/ZONE` or `REGION/ZONE/SUBZONE`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Locality(Box<str>);

/// Why a text is not a [`Locality`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected REGION, REGION/ZONE or REGION/ZONE/SUBZONE, each of 1 to 63 letters, digits, '-', '_' and '.'"
)]
pub struct InvalidLocality;

impl Locality {
    /// The most parts.
    const PARTS: usize = 3;
    /// The longest part, as that of a label's value in Kubernetes.
    const PART_BYTES: usize = 63;

    /// Reads a locality.
    ///
    /// # Errors
    /// [`InvalidLocality`] if it has no part, too many, or one with other characters.
    pub fn parse(text: &str) -> Result<Self, InvalidLocality> {
        let is_part = |part: &str| {
            let bytes = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            (1..=Self::PART_BYTES).contains(&part.len()) && part.bytes().all(bytes)
        };
        match text.split('/').count() <= Self::PARTS && text.split('/').all(is_part) {
            true => Ok(Self(text.into())),
            false => Err(InvalidLocality),
        }
    }

    /// Returns the text as it was read.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns how far apart two places are: 0 if all parts agree, 3 if not even the regions do. A
    /// part that one of them does not have agrees with no other.
    pub fn distance(&self, other: &Self) -> usize {
        let ([a, b], most) = ([self.parts(), other.parts()], Self::PARTS);
        if self == other {
            return 0;
        }
        let same = a.zip(b).take_while(|(ours, theirs)| ours == theirs).count();
        // Two places in one zone, of which one names a subzone, are one step apart.
        most.saturating_sub(same).max(1)
    }

    fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

impl std::fmt::Display for Locality {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Locality {
    type Error = InvalidLocality;

    fn try_from(text: String) -> Result<Self, InvalidLocality> {
        Self::parse(&text)
    }
}

impl From<Locality> for String {
    fn from(locality: Locality) -> Self {
        locality.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locality_has_one_to_three_short_parts() {
        for good in ["eu", "eu-west/1a", "eu.west_1/a/rack-1"] {
            assert_eq!(Locality::parse(good).unwrap().to_string(), good);
        }
        let long = "a".repeat(64);
        for bad in ["", "/", "eu/", "/a", "a//b", "a/b/c/d", "e u", "eu@a", "é", long.as_str()] {
            assert_eq!(Locality::parse(bad), Err(InvalidLocality), "{bad}");
        }
    }

    #[test]
    fn the_distance_is_the_number_of_parts_that_differ() {
        let distance = |a: &str, b: &str| {
            let [a, b] = [a, b].map(|text| Locality::parse(text).unwrap());
            assert_eq!(a.distance(&b), b.distance(&a));
            a.distance(&b)
        };
        assert_eq!(distance("eu", "eu"), 0);
        assert_eq!(distance("eu/a/1", "eu/a/1"), 0);
        assert_eq!(distance("eu/a", "eu/a/1"), 1);
        assert_eq!(distance("eu/a/1", "eu/a/2"), 1);
        assert_eq!(distance("eu/a", "eu/b"), 2);
        assert_eq!(distance("eu", "eu/b"), 2);
        assert_eq!(distance("eu/a", "us/a"), 3);
    }
}
