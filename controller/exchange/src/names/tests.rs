use super::answer::{TTL, Transport, answer};
use super::*;
use hickory_resolver::proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, RecordType};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::time::timeout;

fn names() -> Names {
    let host = |host: &str, addresses: &[&str]| {
        let addresses = addresses.iter().map(|address| address.parse::<IpAddr>().unwrap());
        (host.to_owned(), addresses.collect::<BTreeSet<_>>())
    };
    let hosts = [
        host("web.shop.svc.beta.example", &["240.96.1.2"]),
        host("six.shop.svc.beta.example", &["fd00::7"]),
        host("web.shop.global", &["240.96.1.9"]),
    ];
    Names::new(["svc.gamma.example".to_owned()], hosts).with_serial(7)
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn asked(message: &Message) -> Message {
    let bytes = message.to_vec().unwrap();
    let answer = answer(&bytes, Some(&names()), Transport::Udp).unwrap();
    let read = Message::from_vec(&answer.bytes).unwrap();
    assert_eq!((read.metadata.id, read.metadata.message_type), (4711, MessageType::Response));
    assert_eq!(read.metadata.response_code.low(), answer.code.low());
    read
}

fn ask(name: &str, kind: RecordType) -> (ResponseCode, Vec<String>, Option<u32>) {
    let answer = asked(&question(name, kind));
    let negative = answer.authorities.first().and_then(|record| match &record.data {
        RData::SOA(soa) => Some(soa.minimum),
        _ => None,
    });
    let data = answer.answers.iter().map(|record| record.data.to_string()).collect();
    (answer.metadata.response_code, data, negative)
}

#[test]
fn an_imported_name_has_its_address_whatever_the_case_of_the_question() {
    let found = (ResponseCode::NoError, vec!["240.96.1.2".to_owned()], None);
    assert_eq!(ask("web.shop.svc.beta.example.", RecordType::A), found);
    assert_eq!(ask("WEB.shop.SVC.Beta.example.", RecordType::A), found);
    let answer = asked(&question("WEB.shop.svc.beta.example.", RecordType::A));
    assert!(answer.metadata.authoritative && !answer.metadata.recursion_available);
    assert_eq!(answer.queries[0].name().to_ascii(), "WEB.shop.svc.beta.example.");
    assert_eq!(answer.answers[0].ttl, TTL);
    assert_eq!(ask("six.shop.svc.beta.example.", RecordType::AAAA).1, ["fd00::7"]);
    assert_eq!(ask("web.shop.global.", RecordType::A).1, ["240.96.1.9"]);
}

#[test]
fn a_name_without_addresses_of_this_family_exists_nevertheless() {
    let none = (ResponseCode::NoError, vec![], Some(TTL));
    for (name, kind) in [
        ("web.shop.svc.beta.example.", RecordType::AAAA),
        ("six.shop.svc.beta.example.", RecordType::A),
        ("web.shop.svc.beta.example.", RecordType::TXT),
        // The parents of a name.
        ("shop.svc.beta.example.", RecordType::A),
        ("svc.beta.example.", RecordType::A),
    ] {
        assert_eq!(ask(name, kind), none, "{name} {kind}");
    }
}

#[test]
fn a_name_that_is_not_imported_does_not_exist() {
    for name in [
        "mail.shop.svc.beta.example.",
        "a.web.shop.svc.beta.example.",
        // A peer without imports, for which there is a zone.
        "web.shop.svc.gamma.example.",
        "mail.shop.global.",
    ] {
        assert_eq!(ask(name, RecordType::A), (ResponseCode::NXDomain, vec![], Some(TTL)), "{name}");
    }
}

/// Not even its absence: a peer's gateway has a name in its own trust domain, which is public.
#[test]
fn nothing_is_said_about_names_in_no_zone() {
    for name in
        ["gw.beta.example.", "beta.example.", "example.", ".", "web.shop.svc.delta.example."]
    {
        assert_eq!(ask(name, RecordType::A), (ResponseCode::Refused, vec![], None), "{name}");
    }
    let mut chaos = question("web.shop.svc.beta.example.", RecordType::A);
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(asked(&chaos).metadata.response_code, ResponseCode::Refused);
    assert_eq!(ask("svc.beta.example.", RecordType::AXFR).0, ResponseCode::Refused);
    assert_eq!(ask("svc.beta.example.", RecordType::SOA).1.len(), 1);
}

#[test]
fn what_is_no_single_question_is_refused_with_its_reason() {
    let mut update = question("web.shop.svc.beta.example.", RecordType::A);
    update.metadata.op_code = OpCode::Update;
    assert_eq!(asked(&update).metadata.response_code, ResponseCode::NotImp);
    let mut two = question("web.shop.svc.beta.example.", RecordType::A);
    two.add_query(two.queries[0].clone());
    assert_eq!(asked(&two).metadata.response_code, ResponseCode::FormErr);
    let mut newer = question("web.shop.svc.beta.example.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_version(1);
    newer.set_edns(edns);
    assert!(asked(&newer).answers.is_empty());
}

#[test]
fn an_answer_is_not_answered_and_garbage_is_harmless() {
    let mut response = question("web.shop.svc.beta.example.", RecordType::A);
    response.metadata.message_type = MessageType::Response;
    let answered = |bytes: &[u8]| answer(bytes, Some(&names()), Transport::Udp);
    assert_eq!(answered(&response.to_vec().unwrap()), None);
    assert_eq!(answered(&[]), None);
    assert_eq!(answered(&[0; 11]), None);
    let cut = &question("web.shop.svc.beta.example.", RecordType::A).to_vec().unwrap()[..20];
    assert_eq!(answered(cut).unwrap().code, ResponseCode::FormErr);
    assert_eq!(answered(&[0xff; 12]), None, "it looks like an answer");
}

/// Whatever the bytes, there is no panic, and no answer to an answer.
#[test]
fn changed_bytes_never_cause_a_panic() {
    let whole = question("web.shop.svc.beta.example.", RecordType::A).to_vec().unwrap();
    let names = names();
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..50_000 {
        let mut bytes = whole.clone();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        bytes.truncate(random.usize(..=bytes.len()));
        let answered = answer(&bytes, Some(&names), Transport::Udp);
        if bytes.get(2).is_none_or(|flags| flags & 0x80 != 0) {
            assert_eq!(answered, None);
        } else if let Some(answer) = answered {
            assert!(answer.bytes.len() <= 1232);
        }
    }
}

#[test]
fn without_names_yet_the_client_may_ask_another_server() {
    let bytes = question("web.shop.svc.beta.example.", RecordType::A).to_vec().unwrap();
    assert_eq!(answer(&bytes, None, Transport::Udp).unwrap().code, ResponseCode::ServFail);
}

#[test]
fn the_zone_of_a_host_is_what_its_owner_has() {
    assert_eq!(zone_of("web.shop.svc.beta.example"), Some("svc.beta.example"));
    assert_eq!(zone_of("db-0.db.shop.svc.beta.example"), Some("svc.beta.example"));
    assert_eq!(zone_of("web.shop.global"), Some("shop.global"));
    assert_eq!(zone_of("web"), None);
}

#[tokio::test]
async fn both_transports_answer_what_is_in_force_now() {
    let (sender, served) = watch::channel(Some(Arc::new(names())));
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (udp_address, tcp_address) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
    let metrics = Metrics::default();
    tokio::spawn(serve_udp(udp, served.clone(), metrics.clone()));
    tokio::spawn(serve_tcp(tcp, served, metrics));
    let bytes = question("web.shop.svc.beta.example.", RecordType::A).to_vec().unwrap();
    let code = |bytes: &[u8]| Message::from_vec(bytes).unwrap().metadata.response_code;

    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let over_udp = async || {
        client.send_to(&bytes, udp_address).await.unwrap();
        let mut buffer = [0; 512];
        let length = timeout(Duration::from_secs(5), client.recv(&mut buffer)).await.unwrap();
        code(&buffer[..length.unwrap()])
    };
    let mut stream = TcpStream::connect(tcp_address).await.unwrap();
    let mut over_tcp = async || {
        stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let mut buffer = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut buffer).await.unwrap();
        code(&buffer)
    };
    assert_eq!(
        (over_udp().await, over_tcp().await),
        (ResponseCode::NoError, ResponseCode::NoError)
    );
    sender.send_replace(Some(Arc::new(Names::new(["svc.beta.example".to_owned()], []))));
    assert_eq!(
        (over_udp().await, over_tcp().await),
        (ResponseCode::NXDomain, ResponseCode::NXDomain)
    );
}

/// A server over TCP, as long as the sender of its names.
async fn tcp_server() -> (watch::Sender<Option<Arc<Names>>>, SocketAddr) {
    let (sender, served) = watch::channel(Some(Arc::new(names())));
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    tokio::spawn(serve_tcp(tcp, served, Metrics::default()));
    (sender, address)
}

/// Asks for an address over TCP, and returns the length of the answer.
async fn ask_for_web(stream: &mut TcpStream) -> std::io::Result<u16> {
    let bytes = question("web.shop.svc.beta.example.", RecordType::A).to_vec().unwrap();
    stream.write_u16(u16::try_from(bytes.len()).unwrap()).await?;
    stream.write_all(&bytes).await?;
    stream.read_u16().await
}

#[tokio::test]
async fn one_client_cannot_take_all_connections() {
    let (_sender, address) = tcp_server().await;
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(TcpStream::connect(address).await.unwrap());
    }
    let mut one_more = TcpStream::connect(address).await.unwrap();
    let ended = timeout(Duration::from_secs(5), one_more.read_u8()).await.unwrap();
    assert!(ended.is_err(), "the client has more than its share");
    drop(open.pop());
    // The place is free as soon as the server has seen the end.
    let answered = async || ask_for_web(&mut TcpStream::connect(address).await?).await;
    let again = async {
        while answered().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(5), again).await.unwrap();
}

/// The longest question is begun and never ended, or none is asked.
#[tokio::test]
async fn idle_clients_give_way_to_one_that_asks() {
    let (_sender, address) = tcp_server().await;
    let connect = async |source: u8| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, source], 0).into()).unwrap();
        socket.connect(address).await.unwrap()
    };
    let mut open = Vec::new();
    for number in 0..300_u16 {
        let mut stream = connect(u8::try_from(2 + number / 60).unwrap()).await;
        if number % 2 == 0 {
            stream.write_u8(15).await.unwrap();
        }
        open.push(stream);
    }
    let mut last = connect(9).await;
    // A connection may be idle for ten seconds.
    let length = timeout(Duration::from_secs(8), ask_for_web(&mut last))
        .await
        .expect("it is shut out")
        .unwrap();
    let asked = question("web.shop.svc.beta.example.", RecordType::A).to_vec().unwrap();
    assert!(usize::from(length) > asked.len());
    // The newest of the others stay.
    let newest = timeout(Duration::from_millis(100), open[299].read_u8()).await;
    assert!(newest.is_err(), "{newest:?}");
    let oldest = timeout(Duration::from_secs(5), open[0].read_u8()).await.unwrap();
    assert!(oldest.is_err(), "the oldest stays");
}
