//! A new key for signing a cluster's tokens.

use anyhow::Result;
use fedgate_federation::key::SigningKey;
use jiff::SignedDuration;

/// How long a finding reports that the UUID and the key were replaced: long enough for a long
/// weekend.
pub const REPLACED_IS_SHOWN_FOR: SignedDuration = SignedDuration::from_hours(72);

/// Makes a key from the system's randomness.
///
/// # Errors
/// If the system provides no random bytes.
pub fn new_key() -> Result<SigningKey> {
    let mut seed = [0; 32];
    rustls::crypto::aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut seed)
        .map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
    Ok(SigningKey::from_seed(&seed)?)
}
