use super::{Hostname, ServiceName};

/// The parts of a host name of a mesh: `SERVICE.NAMESPACE.svc.DOMAIN` for a Service, or
/// `POD.SERVICE.NAMESPACE.svc.DOMAIN` for one of its Pods.
///
/// Each host name has at most one reading, so it belongs to one trust domain only. Where both forms
/// fit (`a.b.svc.svc.DOMAIN`), it is the name of a Service. So a Pod of a namespace called `svc`
/// has no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeshHost<'a> {
    /// The Pod's name, if it is the name of a Pod.
    pub pod: Option<&'a str>,
    /// The Service's name.
    pub service: &'a str,
    /// The Service's namespace.
    pub namespace: &'a str,
    /// The trust domain of the Service's cluster, which is also its cluster domain.
    pub trust_domain: &'a str,
}

impl<'a> MeshHost<'a> {
    /// Reads a host name; `None` if it has neither form.
    pub fn parse(host: &'a Hostname) -> Option<Self> {
        let (first, rest) = host.as_str().split_once('.')?;
        let (second, rest) = rest.split_once('.')?;
        let (third, rest) = rest.split_once('.')?;
        if third == "svc" {
            let (service, namespace) = (first, second);
            return Some(Self { pod: None, service, namespace, trust_domain: rest });
        }
        let trust_domain = rest.strip_prefix("svc.")?;
        Some(Self { pod: Some(first), service: second, namespace: third, trust_domain })
    }
}

impl ServiceName {
    /// Returns true if its host is the name of a Pod.
    pub fn is_of_pod(&self) -> bool {
        MeshHost::parse(&self.host).is_some_and(|host| host.pod.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Hostname {
        Hostname::parse(text).unwrap()
    }

    #[test]
    fn reads_names_of_services_and_of_their_pods() {
        let (web, db) = (host("web.shop.svc.beta.example"), host("db-0.db.shop.svc.beta.example"));
        let web = MeshHost::parse(&web).unwrap();
        assert_eq!(
            (web.pod, web.service, web.namespace, web.trust_domain),
            (None, "web", "shop", "beta.example")
        );
        let db = MeshHost::parse(&db).unwrap();
        assert_eq!(
            (db.pod, db.service, db.namespace, db.trust_domain),
            (Some("db-0"), "db", "shop", "beta.example")
        );
    }

    #[test]
    fn other_names_have_no_reading() {
        for other in [
            "beta",
            "web.shop",
            "web.shop.svc",
            "web.shop.beta.example",
            "shop.svc.beta.example",
            "db-0.db.shop.svc",
            "x.db-0.db.shop.svc.beta.example",
            "db-0.db.shop.svcs.beta.example",
        ] {
            assert_eq!(MeshHost::parse(&host(other)), None, "{other}");
        }
    }

    /// A peer with the trust domain `x` must not speak for one with the trust domain `svc.x`.
    #[test]
    fn a_name_with_two_readings_is_that_of_a_service() {
        let both = host("a.b.svc.svc.x");
        let read = MeshHost::parse(&both).unwrap();
        assert_eq!((read.pod, read.trust_domain), (None, "svc.x"));
    }
}
