use super::*;
use crate::inspect::names::Server;
use std::net::IpAddr;

const HOST: &str = "web.shop.svc.beta.example";
const NAME: &str = "names-resolve";

/// The report without DNS capture, if this answers for the names.
fn without_capture(change: impl FnOnce(&mut Names)) -> Report {
    changed(nothing, |facts| {
        facts.mesh.config.as_mut().unwrap()["defaultConfig"] = json!({});
        change(&mut facts.names);
    })
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn served(ready: bool) -> NameService {
    NameService {
        addresses: BTreeMap::from([(HOST.to_owned(), vec![address("240.96.0.1")])]),
        server: Some(Server { address: address("10.0.0.53"), ready }),
    }
}

#[test]
fn with_dns_capture_names_resolve() {
    assert_eq!(found(&changed(nothing, nothing), NAME).0, CheckOutcome::Ok);
    let off = |facts: &mut Facts| {
        let istiods = facts.mesh.istiods.as_mut().unwrap();
        istiods[0].environment.insert("PILOT_ENABLE_IP_AUTOALLOCATE".into(), "false".into());
    };
    assert_only(
        &changed(nothing, off),
        CheckOutcome::Warning,
        NAME,
        &["no addresses", "PILOT_ENABLE_IP_AUTOALLOCATE"],
    );
    let ours = changed(nothing, |facts| {
        off(facts);
        facts.names.service = Ok(served(true));
    });
    assert_eq!(found(&ours, NAME).0, CheckOutcome::Ok, "they have addresses of ours");
}

#[test]
fn without_dns_capture_each_missing_part_is_named() {
    let warned = |change: &dyn Fn(&mut Names), words: &[&str]| {
        assert_only(&without_capture(change), CheckOutcome::Warning, NAME, words);
    };
    warned(&|_| (), &["ISTIO_META_DNS_CAPTURE", "imports.addresses", "dns.enabled"]);
    warned(
        &|names| names.service = Ok(NameService { server: None, ..served(true) }),
        &["no Service fedgate-dns", "dns.enabled", "--output hosts"],
    );
    warned(
        &|names| {
            names.service = Ok(NameService { addresses: BTreeMap::new(), ..served(true) });
        },
        &[HOST, "no address of ours", "imports.addresses"],
    );
    warned(&|names| names.service = Ok(served(true)), &["unknown whether", "kube-system/coredns"]);
    let corefile = |text: &'static str| {
        move |names: &mut Names| {
            *names = Names { service: Ok(served(true)), corefile: Ok(text.to_owned()) };
        }
    };
    warned(
        &corefile(".:53 {\n  forward . /etc/resolv.conf\n}\n"),
        &["does not forward svc.beta.example", "--output corefile"],
    );
    let whole = without_capture(corefile("svc.beta.example:53 {\n  forward . 10.0.0.53\n}\n"));
    assert_eq!(found(&whole, NAME).0, CheckOutcome::Ok);
    let down = without_capture(|names| names.service = Ok(served(false)));
    assert_only(&down, CheckOutcome::Failed, NAME, &["no Pod", "fedgate-dns"]);
}

#[test]
fn an_address_of_the_clusters_own_network_fails() {
    let report = changed(nothing, |facts| {
        let snapshot = facts.snapshot.as_mut().unwrap();
        snapshot.in_force.local.network.service_cidrs = vec!["240.96.0.0/12".parse().unwrap()];
        facts.names.service = Ok(served(true));
    });
    assert_only(&report, CheckOutcome::Failed, NAME, &["240.96.0.1", "240.96.0.0/12", HOST]);
}
