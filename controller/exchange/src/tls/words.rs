//! Alerts and times of TLS, as text for operators.

use jiff::Timestamp;
use rustls::AlertDescription;
use rustls::pki_types::UnixTime;

/// The name of an alert as RFC 8446 writes it (section 6.2): `unknown_ca`.
pub(crate) fn alert_name(alert: AlertDescription) -> String {
    let (mut name, mut after_lower) = (String::new(), false);
    for c in format!("{alert:?}").chars() {
        if c.is_ascii_uppercase() && after_lower {
            name.push('_');
        }
        after_lower = c.is_ascii_lowercase();
        name.push(c.to_ascii_lowercase());
    }
    name
}

/// A time from a certificate's validity.
pub(crate) fn moment(time: &UnixTime) -> String {
    let time =
        i64::try_from(time.as_secs()).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "a time beyond all dates".into(), |time| time.to_string())
}
