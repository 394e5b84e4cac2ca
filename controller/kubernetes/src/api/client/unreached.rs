//! Why a request did not reach the API server, in words.

use fedgate_process::words::{causes, io};
use hyper::Uri;
use kube::client::AuthError;
use std::error::Error;
use std::fmt;

/// The error of a request whose connection failed.
#[derive(Debug)]
pub(crate) struct Unreached {
    server: Option<Uri>,
    why: String,
}

impl Unreached {
    /// `server` is the address of the API server, if it is known.
    pub(super) fn new(server: Option<&Uri>, error: &(dyn Error + 'static)) -> Self {
        Self { server: server.cloned(), why: why(error) }
    }
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, why } = self;
        match server {
            Some(server) => write!(f, "the API server {server} cannot be reached: {why}"),
            None => write!(f, "the API server cannot be reached: {why}"),
        }
    }
}

impl Error for Unreached {}

/// The innermost cause says the most; the others only name layers of the client.
fn why(error: &(dyn Error + 'static)) -> String {
    // Such as a program for credentials that the kubeconfig names.
    if let Some(login) = causes(error).find(|cause| cause.is::<AuthError>()) {
        return causes(login).map(ToString::to_string).collect::<Vec<_>>().join(": ");
    }
    let of_system = |cause: &'_ (dyn Error + 'static)| {
        let error = cause.downcast_ref::<std::io::Error>()?;
        error.raw_os_error().map(|_| io(error))
    };
    let system = causes(error).filter_map(of_system).last();
    let innermost = || causes(error).last().map(ToString::to_string).unwrap_or_default();
    system.unwrap_or_else(|| of_tls(innermost()))
}

/// The library names a refused certificate as its enumeration does: `invalid peer certificate:
/// UnknownIssuer`.
fn of_tls(text: String) -> String {
    const UNKNOWN_CA: &str =
        "no CA that the kubeconfig names has signed its certificate; correct certificate-authority";
    const FAULTS: [(&str, &str); 5] = [
        ("UnknownIssuer", UNKNOWN_CA),
        // A CA of the same name has another key.
        ("BadSignature", UNKNOWN_CA),
        (
            "NotValidForName",
            "its certificate is for another host; correct server, or set tls-server-name",
        ),
        ("Expired", "its certificate has expired"),
        ("NotValidYet", "its certificate is not valid yet; compare the clocks"),
    ];
    let Some(fault) = text.strip_prefix("invalid peer certificate: ") else { return text };
    let found = FAULTS.iter().find(|(name, _)| fault.contains(name));
    found.map_or_else(|| "its certificate is refused".to_owned(), |(_, words)| (*words).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::client::{describe, with};
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{Api, Config};
    use std::net::TcpListener;

    #[tokio::test]
    async fn a_server_that_cannot_be_reached_is_named() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = format!("http://{free}");
        let client = with(Config::new(url.parse().unwrap())).unwrap();
        let error = Api::<ConfigMap>::default_namespaced(client).get("x").await.unwrap_err();
        let expected = format!("the API server {url}/ cannot be reached: connection refused");
        assert_eq!(describe(&error), expected);
    }

    #[test]
    fn a_refused_certificate_is_explained() {
        let words = |fault: &str| of_tls(format!("invalid peer certificate: {fault}"));
        assert!(words("UnknownIssuer").contains("certificate-authority"));
        assert_eq!(words("BadSignature"), words("UnknownIssuer"));
        assert!(words("certificate expired: ExpiredContext { time: 1 }").ends_with("has expired"));
        assert_eq!(words("BadEncoding"), "its certificate is refused");
        assert_eq!(of_tls("connection closed".to_owned()), "connection closed");
    }
}
