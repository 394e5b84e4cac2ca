//! Lookups at a name server that fails for one family of addresses.

use super::*;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record};
use std::net::Ipv4Addr;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// What the server does with the questions of one family.
#[derive(Clone, Copy)]
enum Question {
    /// It answers with this address.
    Address(&'static str),
    /// It answers with this code and no address.
    Code(ResponseCode),
    /// It does not answer.
    Ignored,
}

const NAME: &str = "gw.beta.example.";
const V4: Question = Question::Address("192.0.2.9");
const V6: Question = Question::Address("2001:db8::9");

/// Looks the name up at a server that treats A and AAAA so.
async fn look_up(a: Question, aaaa: Question) -> Result<Found, String> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut server = NameServerConfig::udp(Ipv4Addr::LOCALHOST.into());
    server.connections[0].port = socket.local_addr().unwrap().port();
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let servers = built(resolver).map_err(|error| error.to_string());
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(socket, a, aaaa));
    let current = Current { hosts: Hosts::default(), servers };
    current.ask(Name::from_ascii(NAME).unwrap()).await
}

async fn serve(socket: UdpSocket, a: Question, aaaa: Question) {
    let mut query = [0; 1500];
    loop {
        let (length, client) = socket.recv_from(&mut query).await.unwrap();
        let message = Message::from_vec(&query[..length]).unwrap();
        let question = match message.queries[0].query_type() {
            RecordType::A => a,
            _ => aaaa,
        };
        if let Some(answer) = answer(message, question) {
            socket.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
        }
    }
}

fn answer(query: Message, question: Question) -> Option<Message> {
    let name = query.queries[0].name().clone();
    let mut answer = query.into_response();
    match question {
        Question::Ignored => return None,
        Question::Code(code) => answer.metadata.response_code = code,
        Question::Address(ip) => {
            let data = match ip.parse().unwrap() {
                IpAddr::V4(ip) => RData::A(ip.into()),
                IpAddr::V6(ip) => RData::AAAA(ip.into()),
            };
            answer.answers.push(Record::from_rdata(name, 600, data));
        }
    }
    Some(answer)
}

fn texts(found: &Found) -> Vec<String> {
    found.addresses.iter().map(IpAddr::to_string).collect()
}

#[tokio::test]
async fn each_family_is_asked_for() {
    let found = look_up(V4, V6).await.unwrap();
    assert_eq!(texts(&found), ["192.0.2.9", "2001:db8::9"]);
    let found = look_up(V4, Question::Code(ResponseCode::NoError)).await.unwrap();
    assert_eq!((texts(&found), found.failure), (vec!["192.0.2.9".to_owned()], None));
    let error =
        look_up(Question::Code(ResponseCode::NXDomain), Question::Code(ResponseCode::NXDomain));
    assert!(error.await.unwrap_err().contains("NXDOMAIN"));
}

/// Some servers refuse questions for IPv6 addresses, and some firewalls drop them.
#[tokio::test]
async fn a_server_that_fails_for_one_family_does_not_stop_the_other() {
    for broken in [Question::Code(ResponseCode::ServFail), Question::Ignored] {
        let found = look_up(V4, broken).await.unwrap();
        assert_eq!(texts(&found), ["192.0.2.9"]);
        assert!(found.failure.is_some_and(|why| why.contains("IPv6")));
    }
}

/// The twin: what remains without the family that failed is told apart from all that there is.
#[tokio::test]
async fn a_family_that_failed_is_reported() {
    let failed = Question::Code(ResponseCode::ServFail);
    let found = look_up(failed, V6).await.unwrap();
    assert_eq!(texts(&found), ["2001:db8::9"]);
    let why = found.failure.unwrap();
    assert!(why.contains("ServFail") && why.contains("IPv4"), "{why}");
    let error = look_up(failed, Question::Code(ResponseCode::NoError)).await.unwrap_err();
    assert!(error.contains("IPv4"), "{error}");
}
