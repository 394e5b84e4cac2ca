use fedgate_core::{Hostname, Sni, SpiffeId, TrustDomain};

/// A server name: an accepted name has only one spelling, except for upper case.
pub fn sni(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(sni) = Sni::parse(text) else { return };
    let again = format!("outbound_.{}_.{}_.{}", sni.port(), sni.subset(), sni.host());
    assert!(again.eq_ignore_ascii_case(text), "{again}");
    assert_eq!(Hostname::parse(sni.host()).unwrap().as_str(), sni.host());
    let service = sni.service();
    assert_eq!(Sni::parse(&service.sni()).unwrap().service(), service);
}

/// An identity: an accepted one has only one spelling, and its trust domain and path are valid.
pub fn spiffe_id(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(id) = SpiffeId::parse(text) else { return };
    assert_eq!(id.to_string(), text);
    assert!(TrustDomain::parse(id.trust_domain()).is_ok());
    assert!(id.path().split('/').all(|segment| !matches!(segment, "" | "." | "..")));
    if let Some((namespace, service_account)) = id.caller() {
        assert_eq!(id.path(), format!("ns/{namespace}/sa/{service_account}"));
    }
}
