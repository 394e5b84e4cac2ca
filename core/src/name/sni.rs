use super::{Hostname, InvalidName, ServiceName, ServicePort, hostname};
use std::borrow::Cow;

/// A server name of Istio's form `outbound_.<port>_.<subset>_.<host>` (`BuildDNSSrvSubsetKey` in
/// istiod), as a client sends it in its ClientHello.
///
/// The subset is validated but not used. Subsets are the owner's own routing, which a client's
/// `DestinationRule` must not influence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sni<'a> {
    host: Cow<'a, str>,
    port: ServicePort,
    subset: &'a str,
}

/// Why a server name does not name a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SniError {
    /// The client sent no server name.
    #[error("the client sent no server name")]
    Absent,
    /// The server name does not have Istio's form.
    #[error("the server name does not have the form outbound_.PORT_.SUBSET_.HOST: {0}")]
    Form(#[from] InvalidName),
}

impl<'a> Sni<'a> {
    /// The maximum length of a server name in bytes; Envoy accepts no ClientHello with a longer
    /// one.
    pub const MAX_BYTES: usize = ServiceName::MAX_SNI_BYTES;

    /// Validates `text`; allocates only if the host has upper-case letters.
    ///
    /// # Errors
    /// [`SniError::Absent`] for an empty text, [`SniError::Form`] for anything that does not have
    /// Istio's form.
    pub fn parse(text: &'a str) -> Result<Self, SniError> {
        const FORM: InvalidName = InvalidName::Form("outbound_.PORT_.SUBSET_.HOST");
        if text.is_empty() {
            return Err(SniError::Absent);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(InvalidName::TooLong(Self::MAX_BYTES).into());
        }
        let rest = text.strip_prefix("outbound_.").ok_or(FORM)?;
        let (port, rest) = split(rest).ok_or(FORM)?;
        let (subset, host) = split(rest).ok_or(FORM)?;
        if !subset.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.')) {
            return Err(InvalidName::Character("letters, digits, '-' and '.' in a subset").into());
        }
        Ok(Self { host: hostname::fold(host)?, port: ServicePort::parse(port)?, subset })
    }

    /// The host in lower case.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The Service's port.
    pub fn port(&self) -> ServicePort {
        self.port
    }

    /// The subset, usually empty.
    pub fn subset(&self) -> &'a str {
        self.subset
    }

    /// The service that the server name names.
    pub fn service(&self) -> ServiceName {
        ServiceName { host: Hostname::from_folded(&self.host), port: self.port }
    }
}

/// Splits at the first `_.`. The standard library's string search has a setup cost that pays off
/// only for long texts, so this does not use it.
fn split(text: &str) -> Option<(&str, &str)> {
    let separator = text.as_bytes().windows(2).position(|two| two == b"_.")?;
    Some((text.get(..separator)?, text.get(separator + 2..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_istios_form() {
        let sni = Sni::parse("outbound_.80_._.web.shop.svc.beta.example").unwrap();
        assert_eq!(
            (sni.host(), sni.port().get(), sni.subset()),
            ("web.shop.svc.beta.example", 80, "")
        );
        let sni = Sni::parse("outbound_.8443_.v1_.Web.shop.svc.BETA.example").unwrap();
        assert_eq!(
            (sni.host(), sni.port().get(), sni.subset()),
            ("web.shop.svc.beta.example", 8443, "v1")
        );
    }

    #[test]
    fn is_the_inverse_of_a_services_sni() {
        let web = ServiceName::parse("web.shop.svc.beta.example:80").unwrap();
        assert_eq!(Sni::parse(&web.sni()).unwrap().service(), web);
    }

    #[test]
    fn refuses_other_server_names() {
        assert_eq!(Sni::parse(""), Err(SniError::Absent));
        for bad in [
            "web.shop.svc.beta.example",
            "inbound_.80_._.web.shop",
            "outbound_.80_.web.shop",
            "outbound_._._.web.shop",
            "outbound_.0_._.web.shop",
            "outbound_.080_._.web.shop",
            "outbound_.80_._.",
            "outbound_.80_._.web..shop",
            "outbound_.80_.a|b_.web.shop",
            "outbound_.80_._.web.shop ",
            "Outbound_.80_._.web.shop",
            "outbound|80||web.shop",
            &format!("outbound_.80_._.{}", "a.".repeat(300)),
        ] {
            assert!(matches!(Sni::parse(bad), Err(SniError::Form(_))), "{bad}");
        }
    }
}
