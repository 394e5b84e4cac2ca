use super::order::{NO_MEMBER, orders};
use super::*;
use fedgate_core::{PeerName, ServiceName, ServicePort};
use fedgate_federation::federate::{
    FederatedMember, HealthCheck, HealthProbe, MemberPlace, MemberState, PassedOver,
};
use std::time::Duration;

fn service(host: &str, port: u16) -> ServiceName {
    ServiceName::new(Hostname::parse(host).unwrap(), ServicePort::new(port).unwrap()).unwrap()
}

/// A member with a priority and a weight; `local` is this cluster.
fn member(cluster: &str, priority: u32, weight: u32) -> FederatedMember {
    let (place, domain) = match cluster {
        "local" => (MemberPlace::Local, "alpha"),
        peer => (MemberPlace::Peer(PeerName::parse(peer).unwrap()), peer),
    };
    let service = Some(service(&format!("web.shop.svc.{domain}.example"), 80));
    FederatedMember { place, service, priority, weight, state: MemberState::Ready, check: None }
}

fn passed_over(mut member: FederatedMember) -> FederatedMember {
    let (reason, message) = (PassedOver::PeerNotReady, String::new());
    member.state = MemberState::PassedOver { reason, message };
    member
}

fn port(name: &str, members: Vec<FederatedMember>) -> FederatedPort {
    FederatedPort {
        service: service("web.shop.global", 80),
        port_name: name.to_owned(),
        protocol: Protocol::of_port_name(name),
        check: None,
        members,
    }
}

fn named(ports: Vec<FederatedPort>) -> FederatedService {
    FederatedService {
        namespace: "shop".into(),
        name: "web".into(),
        source: None,
        host: Hostname::parse("web.shop.global").unwrap(),
        ports,
    }
}

/// The clusters of each order by their owner's trust domain, with the weight.
fn order_of(members: Vec<FederatedMember>) -> Vec<(u32, String)> {
    let short =
        |name: &String| name.strip_prefix("outbound|80||web.shop.svc.").unwrap_or(name).to_owned();
    orders(&port("http", members))
        .into_iter()
        .map(|order| {
            let clusters: Vec<_> = order.clusters.iter().map(short).collect();
            (order.weight, clusters.join(" "))
        })
        .collect()
}

#[test]
fn members_are_tried_in_order_of_priority() {
    let members = vec![member("local", 0, 1), member("beta", 1, 1), member("gamma", 2, 1)];
    let all = "alpha.example beta.example gamma.example".to_owned();
    assert_eq!(order_of(members.clone()), [(1, all)]);
    let mut one_less = members;
    one_less[1] = passed_over(one_less[1].clone());
    assert_eq!(order_of(one_less), [(1, "alpha.example gamma.example".to_owned())]);
}

#[test]
fn without_a_member_calls_lead_nowhere() {
    assert_eq!(order_of(vec![passed_over(member("beta", 0, 1))]), [(1, NO_MEMBER.to_owned())]);
    assert_eq!(order_of(Vec::new()), [(1, NO_MEMBER.to_owned())]);
}

#[test]
fn members_with_one_priority_take_turns_by_weight() {
    let members = vec![member("local", 0, 1), member("beta", 1, 3), member("gamma", 1, 2)];
    let expected = [
        (3, "alpha.example beta.example gamma.example"),
        (2, "alpha.example gamma.example beta.example"),
    ];
    assert_eq!(order_of(members), expected.map(|(weight, order)| (weight, order.to_owned())));
}

/// So routes stay as they are while a member is away, and its share goes to the next one.
#[test]
fn the_number_of_orders_does_not_depend_on_who_is_ready() {
    let members = vec![passed_over(member("beta", 0, 3)), member("gamma", 0, 2)];
    let expected = [(3, "gamma.example"), (2, "gamma.example")];
    assert_eq!(order_of(members), expected.map(|(weight, order)| (weight, order.to_owned())));
}

#[test]
fn many_members_do_not_make_long_orders() {
    let members: Vec<_> = (0..64).map(|number| member(&format!("p{number}"), 0, 1)).collect();
    let orders = orders(&port("http", members));
    assert_eq!(orders.len(), 64);
    assert!(orders.iter().all(|order| order.clusters.len() == 8));
}

fn made(service: FederatedService) -> Vec<Desired> {
    let settings = crate::settings::tests::read(&[]).unwrap();
    let services = [service];
    let addresses = BTreeMap::from([(services[0].host.clone(), "240.96.0.7".parse().unwrap())]);
    filters(&settings, &services).chain(names(&settings, &services, &addresses)).collect()
}

fn of_kind(objects: &[Desired], kind: Kind) -> Option<&Value> {
    objects.iter().find(|object| object.kind == kind).map(|object| &object.body["spec"])
}

#[test]
fn a_name_has_a_service_entry_that_leads_nowhere_by_itself() {
    let objects = made(named(vec![port("http", vec![member("beta", 0, 1)])]));
    assert_eq!(
        objects.iter().map(|object| object.kind).collect::<Vec<_>>(),
        [Kind::EnvoyFilter, Kind::ServiceEntry]
    );
    let entry = of_kind(&objects, Kind::ServiceEntry).unwrap();
    assert_eq!(entry["hosts"], json!(["web.shop.global"]));
    assert_eq!(entry["resolution"], "DNS");
    assert_eq!(entry["addresses"], json!(["240.96.0.7"]));
    assert_eq!(entry["ports"], json!([{ "number": 80, "name": "http", "protocol": "HTTP" }]));
    assert_eq!(
        entry["endpoints"],
        json!([{ "address": "192.0.2.1", "network": "fedgate.dev", "labels": { "security.istio.io/tlsMode": "istio" } }])
    );
    let metadata = &objects[1].body["metadata"];
    assert_eq!(metadata["annotations"]["fedgate.dev/federated-service"], "shop/web");
    assert_eq!(metadata["labels"]["istio.io/use-waypoint"], "none");
}

#[test]
fn its_cluster_becomes_an_aggregate_of_its_members() {
    let objects =
        made(named(vec![port("http", vec![member("local", 0, 1), member("beta", 1, 1)])]));
    let patches =
        of_kind(&objects, Kind::EnvoyFilter).unwrap()["configPatches"].as_array().unwrap();
    let matches =
        json!({ "context": "ANY", "cluster": { "service": "web.shop.global", "portNumber": 80 } });
    assert_eq!(patches[0]["match"], matches);
    let value = &patches[0]["patch"]["value"];
    assert_eq!(
        value["cluster_type"]["typed_config"]["clusters"],
        json!([
            "outbound|80||web.shop.svc.alpha.example",
            "outbound|80||web.shop.svc.beta.example"
        ])
    );
    // Routes, and both members.
    assert_eq!(patches.len(), 4, "{patches:#?}");
    let of = |host: &str| {
        let patch = patches.iter().find(|patch| patch["match"]["cluster"]["service"] == host);
        patch.unwrap()["patch"]["value"].clone()
    };
    let (local, beta) = (of("web.shop.svc.alpha.example"), of("web.shop.svc.beta.example"));
    assert_eq!(local["connect_timeout"], "0.75s");
    assert_eq!(local["common_lb_config"], json!({ "healthy_panic_threshold": { "value": 1 } }));
    assert_eq!(beta["common_lb_config"], Value::Null);
    assert_eq!(beta["outlier_detection"]["consecutive_local_origin_failure"], 2);
}

#[test]
fn a_member_is_asked_what_its_check_says() {
    let probe = HealthProbe::Http { path: "/healthz".into(), http2: false };
    let mut beta = member("beta", 1, 1);
    beta.check = Some(HealthCheck { probe, interval: Duration::from_secs(2) });
    let objects = made(named(vec![port("http", vec![member("local", 0, 1), beta])]));
    let patches = &of_kind(&objects, Kind::EnvoyFilter).unwrap()["configPatches"];
    let of = |host: &str| {
        let mut patches = patches.as_array().unwrap().iter();
        let patch = patches.find(|patch| patch["match"]["cluster"]["service"] == host).unwrap();
        patch["patch"]["value"]["health_checks"].clone()
    };
    let [check] = &of("web.shop.svc.beta.example").as_array().unwrap().clone()[..] else {
        panic!()
    };
    assert_eq!((&check["interval"], &check["no_traffic_interval"]), (&json!("2s"), &json!("2s")));
    assert_eq!(check["http_health_check"]["path"], "/healthz");
    assert_eq!(check["http_health_check"]["host"], "web.shop.svc.beta.example");
    assert_eq!(of("web.shop.svc.alpha.example"), Value::Null);
}

#[test]
fn http_is_shared_by_a_patch_and_tcp_by_a_virtual_service() {
    let members = || vec![member("beta", 0, 3), member("gamma", 0, 1)];
    let http = made(named(vec![port("http", members())]));
    let subsets = json!([{ "name": "order-1" }]);
    assert_eq!(of_kind(&http, Kind::DestinationRule).unwrap()["subsets"], subsets);
    assert_eq!(of_kind(&http, Kind::VirtualService), None);
    let patches = of_kind(&http, Kind::EnvoyFilter).unwrap()["configPatches"].to_string();
    assert!(
        patches.contains(r#"{"name":"outbound|80|order-1|web.shop.global","weight":1}"#),
        "{patches}"
    );

    let tcp = made(named(vec![port("tcp", members())]));
    let routes = &of_kind(&tcp, Kind::VirtualService).unwrap()["tcp"];
    assert_eq!(routes[0]["match"], json!([{ "port": 80 }]));
    assert_eq!(routes[0]["route"][0]["weight"], 3);
    assert_eq!(routes[0]["route"][1]["destination"]["subset"], "order-1");
    let tls = made(named(vec![port("tls", members())]));
    let with_name = &of_kind(&tls, Kind::VirtualService).unwrap()["tls"][0]["match"][0];
    assert_eq!(with_name["sniHosts"], json!(["web.shop.global"]));
}
