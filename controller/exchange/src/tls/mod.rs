//! What the importer and the probe have in common as TLS clients.

mod signatures;
mod words;

pub(crate) use signatures::{VerifyCertificate, WithSignatures};
pub(crate) use words::{alert_name, moment};
