//! PEM texts (RFC 7468), and descriptions of what people provide instead.
//!
//! A message about a certificate or key file must say what was found there. It must never quote the
//! file, which may hold a private key. So every description is a fixed text.

const BEGIN: &str = "-----BEGIN ";

/// A PEM block that could be read.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) kind: Kind,
    pub(crate) contents: Vec<u8>,
}

/// The content of a PEM block, according to its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Certificate,
    PrivateKey,
    EncryptedKey,
    OpenSshKey,
    PublicKey,
    Request,
    Pkcs7,
    RevocationList,
    Parameters,
    Other,
}

impl Kind {
    fn of(label: &str) -> Self {
        match label {
            "CERTIFICATE" | "X509 CERTIFICATE" => Self::Certificate,
            "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => Self::PrivateKey,
            "ENCRYPTED PRIVATE KEY" => Self::EncryptedKey,
            "OPENSSH PRIVATE KEY" => Self::OpenSshKey,
            "PUBLIC KEY" | "RSA PUBLIC KEY" => Self::PublicKey,
            "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => Self::Request,
            "PKCS7" | "PKCS #7 SIGNED DATA" | "CMS" => Self::Pkcs7,
            "X509 CRL" => Self::RevocationList,
            "EC PARAMETERS" | "DH PARAMETERS" | "DSA PARAMETERS" => Self::Parameters,
            other if other.ends_with("PRIVATE KEY") => Self::PrivateKey,
            _ => Self::Other,
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Certificate => "a certificate",
            Self::PrivateKey => "a private key, which must never be published",
            Self::EncryptedKey => "a private key with a passphrase",
            Self::OpenSshKey => "an OpenSSH private key",
            Self::PublicKey => "a public key without a certificate",
            Self::Request => {
                "a certificate signing request; take the certificate that the CA made of it"
            }
            Self::Pkcs7 => "a PKCS #7 bundle; convert it with `openssl pkcs7 -print_certs`",
            Self::RevocationList => "a certificate revocation list",
            Self::Parameters => "parameters of a key",
            Self::Other => "a PEM block of another kind",
        }
    }
}

/// Reads the PEM blocks of a text one by one, so that a bad one does not affect the others. `Err`
/// says what is wrong with a block.
pub(crate) fn blocks(text: &str) -> impl Iterator<Item = Result<Block, &'static str>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let start = rest.find(BEGIN)?;
        let block = rest.get(start..)?;
        let end =
            block.get(BEGIN.len()..).and_then(|after| after.find(BEGIN)).map(|at| at + BEGIN.len());
        let (block, after) = block.split_at(end.unwrap_or(block.len()));
        rest = after;
        Some(read(block))
    })
}

fn read(block: &str) -> Result<Block, &'static str> {
    let label = block
        .get(BEGIN.len()..)
        .and_then(|after| after.split_once("-----"))
        .map_or("", |(label, _)| label);
    let kind = Kind::of(label.trim());
    let damaged = match (kind, block.contains("-----END ")) {
        (Kind::PrivateKey | Kind::EncryptedKey | Kind::OpenSshKey, _) => "a damaged private key",
        (Kind::Certificate, false) => {
            "a certificate that is cut off: its line -----END CERTIFICATE----- is missing"
        }
        (Kind::Certificate, true) => {
            "a damaged certificate: what stands between BEGIN and END is not its base64"
        }
        (_, _) => "a damaged PEM block",
    };
    let parsed = pem::parse(block).map_err(|_| damaged)?;
    // RFC 1421, as `openssl genrsa -traditional -aes256` writes it.
    let encrypted =
        parsed.headers().get("Proc-Type").is_some_and(|kind| kind.contains("ENCRYPTED"));
    let kind = if encrypted { Kind::EncryptedKey } else { kind };
    Ok(Block { kind, contents: parsed.into_contents() })
}

/// Describes a text that should be PEM but has no PEM block.
pub(crate) fn without_blocks(bytes: &[u8]) -> &'static str {
    let text = String::from_utf8_lossy(bytes);
    let trimmed = text.trim_start_matches('\u{feff}').trim();
    let compact = || trimmed.bytes().filter(|byte| !byte.is_ascii_whitespace());
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "text in UTF-16; save it as UTF-8",
        _ if bytes.contains(&0) && trimmed.replace('\0', "").contains(BEGIN) => {
            "text in UTF-16; save it as UTF-8"
        }
        _ if trimmed.is_empty() => "nothing",
        [0x30, ..] if x509_parser::parse_x509_certificate(bytes).is_ok() => {
            "a certificate in DER; convert it with `openssl x509 -inform DER`"
        }
        [0x30, length, ..] if *length >= 0x80 => {
            "binary data (DER: PKCS #7, PKCS #12 or a key); convert it to PEM"
        }
        [0xfe, 0xed, 0xfe, 0xed, ..] => "a Java keystore; export the certificate in PEM",
        _ if trimmed.starts_with("ssh-") || trimmed.starts_with("ecdsa-sha2-") => {
            "an OpenSSH public key"
        }
        _ if trimmed.starts_with('<') => "HTML or XML",
        _ if trimmed.starts_with('{') || trimmed.starts_with('[') => "JSON",
        _ if trimmed.starts_with("http://") || trimmed.starts_with("https://") => {
            "a URL; put the certificate itself there"
        }
        _ if trimmed.contains("-----END ") => "a PEM block whose line -----BEGIN …----- is missing",
        // `-----BEGIN CERTIFICATE-----` in base64, as in Kubernetes' Secrets.
        _ if trimmed.starts_with("LS0tLS1CRUdJTi") => {
            "PEM that is encoded in base64 once more; decode it first"
        }
        _ if trimmed.starts_with("MII") && compact().all(is_base64) => {
            "base64 without the lines -----BEGIN CERTIFICATE----- and -----END CERTIFICATE-----"
        }
        _ if trimmed.len() < 256 && trimmed.starts_with(['/', '.']) => {
            "a file's name; put the certificate itself there"
        }
        _ if std::str::from_utf8(bytes).is_err() => "binary data",
        _ => "text without a PEM block",
    }
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> rcgen::CertifiedKey<rcgen::KeyPair> {
        rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap()
    }

    #[test]
    fn each_block_is_read_on_its_own() {
        let (pem, key) = (certificate().cert.pem(), certificate().signing_key.serialize_pem());
        let cut: String = pem.lines().take(3).map(|line| format!("{line}\n")).collect();
        let text =
            format!("text\n{cut}{pem}{key}-----BEGIN THING-----\nAAAA\n-----END THING-----\n");
        let found: Vec<_> = blocks(&text).map(|block| block.map(|block| block.kind)).collect();
        let cut_off =
            "a certificate that is cut off: its line -----END CERTIFICATE----- is missing";
        assert_eq!(
            found,
            [Err(cut_off), Ok(Kind::Certificate), Ok(Kind::PrivateKey), Ok(Kind::Other)]
        );
        assert_eq!(blocks("-----BEGIN ").count(), 1);
        assert_eq!(blocks("nothing").count(), 0);
    }

    #[test]
    fn an_encrypted_key_is_recognised_in_both_pem_forms() {
        let new =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        for text in [new, old] {
            let kinds: Vec<_> = blocks(text).map(|block| block.map(|block| block.kind)).collect();
            assert_eq!(kinds, [Ok(Kind::EncryptedKey)], "{text}");
        }
    }

    #[test]
    fn text_that_is_not_pem_is_described_but_never_quoted() {
        let der = certificate().cert.der().to_vec();
        let pem = certificate().cert.pem();
        let naked: String = pem
            .lines()
            .filter(|line| !line.starts_with('-'))
            .map(|line| format!("{line}\n"))
            .collect();
        let twice = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &pem);
        let utf16: Vec<u8> = pem.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let headless = pem.split_once('\n').unwrap().1.to_owned();
        for (bytes, expected) in [
            (der, "in DER"),
            (naked.into_bytes(), "base64 without"),
            (twice.into_bytes(), "base64 once more"),
            (utf16, "UTF-16"),
            (headless.into_bytes(), "BEGIN …----- is missing"),
            (b" \n".to_vec(), "nothing"),
            (b"<html></html>".to_vec(), "HTML"),
            (b"{}".to_vec(), "JSON"),
            (b"https://pki.example/ca".to_vec(), "URL"),
            (b"/etc/ca.pem".to_vec(), "a file's name"),
            (b"ssh-ed25519 AAAA".to_vec(), "OpenSSH"),
            (vec![0x30, 0x82, 1, 2, 3], "PKCS #12"),
            (vec![0xfe, 0xed, 0xfe, 0xed, 0], "Java"),
            (vec![1, 0xff, 7], "binary"),
            (b"hunter2".to_vec(), "text without a PEM block"),
        ] {
            assert!(
                without_blocks(&bytes).contains(expected),
                "{expected}: {}",
                without_blocks(&bytes)
            );
        }
    }
}
