//! Checks of private keys. No message contains any part of a key, only what is wrong with it.

use super::source::Source;
use crate::finding::{Finding, FindingReason};
use crate::pem_text::{Block, Kind, blocks, without_blocks};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Returns true if the key belongs to the first certificate of the chain. Both are PEM.
///
/// # Errors
/// What cannot be read. The message quotes neither of them.
pub fn keys_match(chain: &[u8], key: &[u8]) -> Result<bool, String> {
    let chain = super::leaf::Chain::read(chain)?;
    let leaf = chain.leaf()?;
    is_key_of(key, leaf.public_key())
}

pub(super) fn check(source: &Source<'_>, certified: &SubjectPublicKeyInfo<'_>) -> Option<Finding> {
    let bytes = match &source.bytes {
        Ok(bytes) => bytes,
        Err(why) => return Some(source.error(FindingReason::InvalidKey, why.clone())),
    };
    match is_key_of(bytes, certified) {
        Ok(true) => None,
        Ok(false) => {
            let message = "expected the private key of the certificate, found that of another; put the key there that was made with the certificate";
            Some(source.error(FindingReason::KeyMismatch, message))
        }
        Err(why) => Some(source.misplaced(FindingReason::InvalidKey, &why)),
    }
}

fn is_key_of(pem: &[u8], certified: &SubjectPublicKeyInfo<'_>) -> Result<bool, String> {
    let der = read(pem).map_err(|found| {
        format!("expected a private key in PEM without a passphrase, found {found}")
    })?;
    let private = PrivateKeyDer::try_from(der.as_slice()).map_err(|_| DAMAGED)?;
    let key = any_supported_type(&private).map_err(|_| UNUSABLE)?;
    let public = key.public_key().ok_or(UNUSABLE)?;
    let (_, public) = SubjectPublicKeyInfo::from_der(&public).map_err(|_| UNUSABLE)?;
    Ok(public.subject_public_key.data == certified.subject_public_key.data)
}

const DAMAGED: &str = "expected a private key in PEM, found one that is damaged";
const UNUSABLE: &str = "expected a private key on P-256 or P-384, or an RSA key of 2048 to 8192 bits, found one that is damaged or of another kind";

/// Returns the first private key of a text, in DER.
fn read(bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
    let text = String::from_utf8_lossy(bytes);
    let found: Vec<Result<Block, _>> = blocks(&text).collect();
    let is_key = |kind| matches!(kind, Kind::PrivateKey | Kind::EncryptedKey | Kind::OpenSshKey);
    let key = found.iter().flatten().find(|block| is_key(block.kind));
    match (key, found.first()) {
        (Some(block), _) if block.kind == Kind::PrivateKey => Ok(block.contents.clone()),
        (Some(block), _) => Err(block.kind.words()),
        (None, Some(Ok(block))) if block.kind == Kind::Certificate => {
            Err("a certificate; are the two files swapped?")
        }
        (None, Some(Ok(block))) => Err(block.kind.words()),
        (None, Some(Err(damaged))) => Err(damaged),
        (None, None) => Err(without_blocks(bytes)),
    }
}
