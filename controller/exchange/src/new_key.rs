//! The key that a cluster's tokens are signed with, made anew.

use anyhow::Result;
use fedgate_federation::key::SigningKey;
use jiff::SignedDuration;

/// For how long a finding says that UUID and key were made anew: over a long weekend.
pub const REPLACED_IS_TOLD_FOR: SignedDuration = SignedDuration::from_hours(72);

/// A new key, from the system's randomness.
///
/// # Errors
/// When the system has none.
pub fn new_key() -> Result<SigningKey> {
    let mut seed = [0; 32];
    rustls::crypto::aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut seed)
        .map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
    Ok(SigningKey::from_seed(&seed)?)
}
