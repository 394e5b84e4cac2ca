//! The CAs by which a collector's certificate is checked.

use reqwest::Certificate;
use std::ffi::OsString;
use std::path::PathBuf;

/// OpenTelemetry's variables for a file with the collector's CAs, in PEM. The first one that is set
/// counts.
pub(crate) const VARIABLES: [&str; 2] =
    ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"];

/// Why a file with CAs cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{variable}={}: expected a file with the certificates of CAs in PEM: {why}", file.display())]
pub struct RootsError {
    variable: &'static str,
    file: PathBuf,
    why: String,
}

/// The CAs that alone are believed, if a variable names a file with them.
pub(crate) fn named(
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<Vec<Certificate>>, RootsError> {
    let set = VARIABLES.into_iter().find_map(|name| {
        let file = variable(name).filter(|file| !file.is_empty())?;
        Some((name, PathBuf::from(file)))
    });
    let Some((variable, file)) = set else { return Ok(None) };
    let found = std::fs::read(&file)
        .map_err(|error| error.to_string())
        .and_then(|text| Certificate::from_pem_bundle(&text).map_err(|error| error.to_string()));
    match found {
        Ok(roots) if !roots.is_empty() => Ok(Some(roots)),
        Ok(_) => Err(RootsError { variable, file, why: "it has none".to_owned() }),
        Err(why) => Err(RootsError { variable, file, why }),
    }
}
