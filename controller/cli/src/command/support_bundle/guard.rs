//! Looks for secrets in what was collected. The lists of fields keep them out; this is for the
//! mistakes in those lists, and for logs.

/// What is found where a secret is.
const SIGNS: [&str; 5] = [
    "PRIVATE KEY",
    // The DER of a PKCS#8 key in base64, of the common kinds: Ed25519, P-256, RSA of 2048 bits.
    "MC4CAQAwBQYDK2Vw",
    "MIGHAgEAMBMGByqGSM49",
    "MIIEvQIBADANBgkq",
    "Bearer ",
];

/// Secrets of this site that are known, so that they are found wherever they are.
#[derive(Debug, Default)]
pub(super) struct Guard {
    known: Vec<String>,
}

/// A shorter text may be found by chance.
const SHORTEST: usize = 8;

impl Guard {
    /// Takes the text of a key's file: each of its lines is a secret.
    pub(super) fn add(&mut self, secret: &str) {
        let lines = secret.lines().map(str::trim);
        let lines = lines.filter(|line| line.len() >= SHORTEST && !line.starts_with("-----"));
        self.known.extend(lines.map(str::to_owned));
    }

    /// Returns true if a text has a secret.
    pub(super) fn finds(&self, text: &str) -> bool {
        SIGNS.iter().any(|sign| text.contains(sign))
            || self.known.iter().any(|secret| text.contains(secret.as_str()))
            || has_token(text)
            || has_login(text)
            || has_field(text)
    }
}

/// A JSON Web Token: three parts in base64url, the first of which is a JSON object.
fn has_token(text: &str) -> bool {
    let is_part = |part: &str| {
        part.len() >= SHORTEST
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let is_token = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    text.split(|c: char| !is_token(c)).any(|token| {
        let parts: Vec<_> = token.split('.').collect();
        token.starts_with("eyJ") && parts.len() == 3 && parts.into_iter().all(is_part)
    })
}

/// A URL with a login: `://USER:PASSWORD@`.
fn has_login(text: &str) -> bool {
    text.split("://").skip(1).any(|rest| {
        let authority = rest.split(|c: char| c.is_whitespace() || "/?#\"'<>".contains(c)).next();
        authority.is_some_and(|authority| authority.contains('@'))
    })
}

/// A field of a query or of a setting that usually has a secret: `token=VALUE`.
fn has_field(text: &str) -> bool {
    const FIELDS: [&str; 7] =
        ["token=", "password=", "passwd=", "secret=", "api_key=", "apikey=", "access_key="];
    let text = text.to_ascii_lowercase();
    FIELDS.iter().any(|field| text.contains(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_and_other_texts_are_not() {
        let mut guard = Guard::default();
        guard.add("-----BEGIN X-----\nbm90IHJlYWxseSBhIGtleQ==\n-----END X-----\n");
        for secret in [
            "-----BEGIN EC PRIVATE KEY-----",
            "a bm90IHJlYWxseSBhIGtleQ== b",
            "token eyJhbGciOiJFZERTQSJ9.eyJhdWQiOiIyMjIyMjIy.37a9InjLcCFb7oPKDceK, used",
            "http://user:secret@proxy.example:3128",
            "Authorization: Bearer x",
            "GET /metadata?access_token=abc HTTP/1.1",
            "PGPASSWORD=abc",
        ] {
            assert!(guard.finds(secret), "{secret}");
        }
        for harmless in [
            "-----BEGIN CERTIFICATE-----",
            "https://meta.example/a@b",
            "eyJhbGciOiJFZERTQSJ9 alone",
            "spiffe://alpha.example/ns/shop/sa/cart",
            "-----BEGIN X-----",
            "the token's subject is not a peer with a known key reason=\"unknown_subject\"",
        ] {
            assert!(!guard.finds(harmless), "{harmless}");
        }
    }
}
