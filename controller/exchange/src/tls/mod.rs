//! What the importer and the probe share as TLS clients.

mod signatures;
mod words;

pub(crate) use signatures::{VerifyCertificate, WithSignatures};
pub(crate) use words::{alert_name, moment};
