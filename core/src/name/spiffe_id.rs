use super::{InvalidName, trust_domain};

/// The maximum length of a Kubernetes name in bytes. It bounds the time to match a caller against a
/// pattern.
const MAX_CALLER_BYTES: usize = 253;

/// A workload's SPIFFE ID (SPIFFE-ID, section 2; X509-SVID, section 2):
/// `spiffe://<trust domain>/<path>`, borrowed from the certificate's URI SAN.
///
/// The path has at least one segment. An ID without a path names the trust domain itself, which a
/// leaf certificate must not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpiffeId<'a> {
    trust_domain: &'a str,
    path: &'a str,
}

impl<'a> SpiffeId<'a> {
    /// The maximum length of a SPIFFE ID in bytes (SPIFFE-ID, section 2.3).
    pub const MAX_BYTES: usize = 2048;

    /// Validates `uri` byte by byte. It does not normalise: a URI that needs normalising is not a
    /// SPIFFE ID.
    ///
    /// # Errors
    /// [`InvalidName`] if `uri` is not a workload's SPIFFE ID.
    pub fn parse(uri: &'a str) -> Result<Self, InvalidName> {
        const FORM: InvalidName = InvalidName::Form("spiffe://<trust domain>/<path>");
        if uri.len() > Self::MAX_BYTES {
            return Err(InvalidName::TooLong(Self::MAX_BYTES));
        }
        let rest = uri.strip_prefix("spiffe://").ok_or(FORM)?;
        let (trust_domain, path) = rest.split_once('/').ok_or(FORM)?;
        trust_domain::check(trust_domain)?;
        path.split('/').try_for_each(check_segment)?;
        Ok(Self { trust_domain, path })
    }

    /// The trust domain, whose root must have signed the certificate.
    pub fn trust_domain(&self) -> &'a str {
        self.trust_domain
    }

    /// The path without its leading slash.
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// The namespace and service account, if the path is Istio's
    /// `ns/<namespace>/sa/<service account>`. Returns `None` if either is longer than a Kubernetes
    /// name may be (253 bytes).
    pub fn caller(&self) -> Option<(&'a str, &'a str)> {
        let mut segments = self.path.split('/');
        let caller = match (segments.next()?, segments.next()?, segments.next()?, segments.next()?)
        {
            ("ns", namespace, "sa", service_account) => (namespace, service_account),
            _ => return None,
        };
        let fits = caller.0.len() <= MAX_CALLER_BYTES && caller.1.len() <= MAX_CALLER_BYTES;
        (fits && segments.next().is_none()).then_some(caller)
    }
}

impl std::fmt::Display for SpiffeId<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "spiffe://{}/{}", self.trust_domain, self.path)
    }
}

/// SPIFFE-ID, section 2.2: letters, digits, `.`, `-`, `_`; not empty, not `.` or `..`.
fn check_segment(segment: &str) -> Result<(), InvalidName> {
    match segment {
        "" => Err(InvalidName::Empty),
        "." | ".." => Err(InvalidName::Form("a path without '.' and '..' segments")),
        _ if segment
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) =>
        {
            Ok(())
        }
        _ => Err(InvalidName::Character("letters, digits, '.', '-' and '_' in each path segment")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_an_istio_identity() {
        let id = SpiffeId::parse("spiffe://alpha.example/ns/shop/sa/web").unwrap();
        assert_eq!(
            (id.trust_domain(), id.path(), id.caller()),
            ("alpha.example", "ns/shop/sa/web", Some(("shop", "web")))
        );
    }

    #[test]
    fn a_caller_may_have_the_longest_names_of_kubernetes() {
        let name = "a".repeat(253);
        let uri = format!("spiffe://alpha.example/ns/{name}/sa/{name}");
        assert_eq!(SpiffeId::parse(&uri).unwrap().caller(), Some((name.as_str(), name.as_str())));
    }

    #[test]
    fn other_paths_are_identities_without_a_caller() {
        let long = "a".repeat(254);
        let (long_namespace, long_account) =
            (format!("ns/{long}/sa/web"), format!("ns/shop/sa/{long}"));
        for path in [
            &long_namespace,
            &long_account,
            "web",
            "ns/shop",
            "ns/shop/sa",
            "ns/shop/sa/web/x",
            "NS/shop/sa/web",
            "ns/shop/SA/web",
        ] {
            let uri = format!("spiffe://alpha.example/{path}");
            assert_eq!(SpiffeId::parse(&uri).unwrap().caller(), None, "{path}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_workload_identity() {
        for bad in [
            "",
            "spiffe://",
            "spiffe:///ns/a/sa/b",
            "spiffe://alpha.example",
            "spiffe://alpha.example/",
            "spiffe://alpha.example/ns//sa/b",
            "spiffe://alpha.example/ns/a/sa/b/",
            "spiffe://alpha.example/ns/../sa/b",
            "spiffe://alpha.example/ns/./sa/b",
            "spiffe://alpha.example/ns/a%2Fb/sa/c",
            "spiffe://alpha.example/ns/a/sa/b?x",
            "spiffe://alpha.example/ns/a/sa/b#x",
            "spiffe://ALPHA.example/ns/a/sa/b",
            "spiffe://user@alpha.example/ns/a/sa/b",
            "spiffe://alpha.example:443/ns/a/sa/b",
            "SPIFFE://alpha.example/ns/a/sa/b",
            "https://alpha.example/ns/a/sa/b",
            " spiffe://alpha.example/ns/a/sa/b",
            "spiffe://alpha.example/ns/a/sa/b,spiffe://beta.example/ns/a/sa/b",
            &format!("spiffe://alpha.example/{}", "a".repeat(2048)),
        ] {
            assert!(SpiffeId::parse(bad).is_err(), "{bad}");
        }
    }
}
