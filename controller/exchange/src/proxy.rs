//! The HTTP proxy through which peers' metadata endpoints are reached.
//!
//! A proxy of the settings comes first. Without one, the environment counts, by the usual names:
//! `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in upper or lower case. An endpoint on loopback is
//! always reached directly. TLS goes from end to end through the proxy (`CONNECT`), so it sees
//! neither documents nor tokens.

use axum::http::Uri;
use fedgate_federation::shown;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use std::{env, fmt, net::IpAddr, sync::Arc};

/// What an operator can set about proxies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// The proxy for all endpoints.
    pub proxy: Option<ProxyAddress>,
    /// The hosts that are reached directly: names with all below them, addresses, CIDRs, or `*`. If
    /// empty, `NO_PROXY` counts.
    pub no_proxy: Vec<String>,
}

/// A proxy's URL, which may contain a password, so it is not shown. It is checked by
/// [`ProxySettings::check`] and not when it is read: what reads settings quotes values that it
/// refuses.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyAddress(String);

/// Why a proxy's URL is refused. Does not quote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a URL such as http://proxy.example:3128, with the scheme http or https and no path"
)]
pub struct InvalidProxy;

impl ProxySettings {
    /// Checks the proxy's URL: `http://[USER:PASSWORD@]HOST:PORT`, or the same with `https`.
    ///
    /// # Errors
    /// [`InvalidProxy`].
    pub fn check(&self) -> Result<(), InvalidProxy> {
        let Some(ProxyAddress(text)) = &self.proxy else { return Ok(()) };
        let uri: Uri = text.parse().map_err(|_| InvalidProxy)?;
        let is_good = matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.path_and_query().is_none_or(|path| path.as_str() == "/");
        is_good.then_some(()).ok_or(InvalidProxy)
    }
}

impl ProxyAddress {
    /// Takes a URL as it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for ProxyAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProxyAddress")
    }
}

/// Says which proxy leads to which endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Proxies(Arc<Matcher>);

impl Proxies {
    pub(crate) fn new(settings: &ProxySettings) -> Self {
        let no_proxy = match settings.no_proxy.as_slice() {
            [] => ["NO_PROXY", "no_proxy"].into_iter().find_map(|name| env::var(name).ok()),
            hosts => Some(hosts.join(",")),
        };
        let matcher = match &settings.proxy {
            None => Matcher::from_env(),
            Some(proxy) => {
                let no_proxy = no_proxy.unwrap_or_default();
                Matcher::builder().all(proxy.0.clone()).no(no_proxy).build()
            }
        };
        Self(Arc::new(matcher))
    }

    /// No proxy at all.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self(Arc::new(Matcher::builder().build()))
    }

    /// The proxy that leads to this URL; `None` if it is reached directly.
    pub(crate) fn to(&self, url: &str) -> Option<Proxy> {
        let uri: Uri = url.parse().ok()?;
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
        let address = host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        match address || host == "localhost" {
            true => None,
            false => self.0.intercept(&uri).map(Proxy),
        }
    }
}

/// A proxy. It is shown without its password.
#[derive(Debug, Clone)]
pub(crate) struct Proxy(Intercept);

impl Proxy {
    /// The same for the HTTP client.
    pub(crate) fn for_client(&self) -> reqwest::Result<reqwest::Proxy> {
        let proxy = reqwest::Proxy::all(self.0.uri().to_string())?;
        Ok(match self.0.basic_auth() {
            Some(login) => proxy.custom_http_auth(login.clone()),
            None => proxy,
        })
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", shown(self.0.uri().to_string().trim_end_matches('/')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(no_proxy: &[&str]) -> Proxies {
        let proxy = Some(ProxyAddress::new("http://user:secret@proxy.example:3128"));
        let no_proxy = no_proxy.iter().map(|host| (*host).to_owned()).collect();
        Proxies::new(&ProxySettings { proxy, no_proxy })
    }

    #[test]
    fn the_proxy_leads_to_all_hosts_but_the_exceptions_and_loopback() {
        let proxies = proxies(&["internal.example", "10.0.0.0/8"]);
        for url in
            ["https://beta.example/metadata", "https://192.0.2.1:15080/", "https://[2001:db8::1]/"]
        {
            let proxy = proxies.to(url).unwrap();
            assert_eq!(proxy.to_string(), "http://proxy.example:3128", "{url}");
            assert!(!format!("{proxy:?}").contains("secret"), "{proxy:?}");
        }
        for url in [
            "https://internal.example/",
            "https://beta.internal.example/",
            "https://10.1.2.3/",
            "https://127.0.0.1:15080/",
            "https://[::1]/",
            "https://localhost/",
        ] {
            assert!(proxies.to(url).is_none(), "{url}");
        }
        assert!(self::proxies(&["*"]).to("https://beta.example").is_none());
    }

    #[test]
    fn a_proxy_has_a_scheme_and_a_host_and_its_password_is_not_shown() {
        let check = |text: &str| {
            let proxy = Some(ProxyAddress::new(text));
            let settings = ProxySettings { proxy, ..ProxySettings::default() };
            assert!(!format!("{settings:?}").contains("secret"));
            settings.check()
        };
        assert_eq!(ProxySettings::default().check(), Ok(()));
        assert_eq!(check("https://user:secret@proxy.example"), Ok(()));
        for text in [
            "",
            "proxy.example:3128",
            "socks5://proxy.example",
            "http://",
            "http://a/b",
            "http://a/?b",
            "http://a b",
        ] {
            assert_eq!(check(text), Err(InvalidProxy), "{text}");
        }
    }
}
