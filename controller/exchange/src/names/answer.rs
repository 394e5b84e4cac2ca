//! Answers one message.

use super::table::{Found, Names};
use hickory_resolver::proto::op::{
    Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode,
};
use hickory_resolver::proto::rr::rdata::SOA;
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record, RecordType};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// How long an answer may be kept, in seconds: the time after which a name that is gone, or that
/// has come, is gone or there for everyone.
pub(super) const TTL: u32 = 5;

/// The longest answer over UDP. Longer ones may be fragmented on the way.
const LONGEST_DATAGRAM: u16 = 1232;

/// The end of an answer: its bytes, and its code for the metrics.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
    pub(super) code: ResponseCode,
}

/// How a message arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// Answers a message. `None` if it must not be answered, because it is an answer itself or is not
/// DNS. Without `names` nothing is known yet.
pub(super) fn answer(message: &[u8], names: Option<&Names>, over: Transport) -> Option<Answer> {
    let reply = match Message::from_vec(message) {
        Ok(request) if request.metadata.message_type == MessageType::Response => return None,
        Ok(request) => reply(&request, names),
        Err(_) => malformed(message)?,
    };
    let code = reply.metadata.response_code;
    let longest = match over {
        Transport::Udp => usize::from(reply.max_payload()),
        Transport::Tcp => usize::from(u16::MAX),
    };
    let bytes = reply.to_vec().ok()?;
    let bytes = if bytes.len() > longest { reply.truncate().to_vec().ok()? } else { bytes };
    Some(Answer { bytes, code })
}

/// The answer to a message that has a header and nothing else that can be read.
fn malformed(message: &[u8]) -> Option<Message> {
    let [high, low, flags, ..] = *message else { return None };
    let is_answer = flags & 0x80 != 0;
    let is_whole = message.len() >= 12;
    (is_whole && !is_answer).then(|| {
        Message::error_msg(u16::from_be_bytes([high, low]), OpCode::Query, ResponseCode::FormErr)
    })
}

fn reply(request: &Message, names: Option<&Names>) -> Message {
    let mut reply = Message::response(request.metadata.id, request.metadata.op_code);
    reply.metadata = Metadata::response_from_request(&request.metadata);
    reply.metadata.recursion_available = false;
    if let Some(asked) = &request.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(asked.max_payload().clamp(512, LONGEST_DATAGRAM));
        reply.set_edns(edns);
        if asked.version() > 0 {
            reply.metadata.response_code = ResponseCode::BADVERS;
            return reply;
        }
    }
    if request.metadata.op_code != OpCode::Query {
        reply.metadata.response_code = ResponseCode::NotImp;
        return reply;
    }
    let [query] = request.queries.as_slice() else {
        reply.metadata.response_code = ResponseCode::FormErr;
        return reply;
    };
    reply.add_query(query.clone());
    match names {
        Some(names) => look_up(query, names, &mut reply),
        None => reply.metadata.response_code = ResponseCode::ServFail,
    }
    reply
}

fn look_up(query: &Query, names: &Names, reply: &mut Message) {
    let name = query.name().to_lowercase().to_ascii();
    let found = names.find(name.trim_end_matches('.'));
    let is_transfer = matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR);
    if query.query_class() != DNSClass::IN || is_transfer || found == Found::Elsewhere {
        reply.metadata.response_code = ResponseCode::Refused;
        return;
    }
    reply.metadata.authoritative = true;
    match found {
        Found::Exists(zone, addresses) => {
            reply.add_answers(records(query, zone, addresses, names));
            if reply.answers.is_empty() {
                reply.add_authorities(start_of(zone, names));
            }
        }
        Found::Missing(zone) => {
            reply.metadata.response_code = ResponseCode::NXDomain;
            reply.add_authorities(start_of(zone, names));
        }
        Found::Elsewhere => {}
    }
}

/// The records of a name that exists.
fn records(
    query: &Query,
    zone: &str,
    addresses: Option<&BTreeSet<IpAddr>>,
    names: &Names,
) -> Vec<Record> {
    let asked = query.query_type();
    let name = query.name().to_lowercase().to_ascii();
    if asked == RecordType::SOA && name.trim_end_matches('.') == zone {
        return start_of(zone, names).into_iter().collect();
    }
    let of_type = |address: &&IpAddr| match address {
        IpAddr::V4(_) => matches!(asked, RecordType::A | RecordType::ANY),
        IpAddr::V6(_) => matches!(asked, RecordType::AAAA | RecordType::ANY),
    };
    let record = |address: &IpAddr| {
        let data = match *address {
            IpAddr::V4(address) => RData::A(address.into()),
            IpAddr::V6(address) => RData::AAAA(address.into()),
        };
        Record::from_rdata(query.name().clone(), TTL, data)
    };
    addresses.into_iter().flatten().filter(of_type).map(record).collect()
}

/// The start of authority, by which a resolver knows how long a name may be missing. `None` if the
/// zone's name leaves no room for it.
fn start_of(zone: &str, names: &Names) -> Option<Record> {
    let name = |text: &str| Name::from_ascii(text).ok();
    let (server, mail) = (name(&format!("ns.{zone}."))?, name(&format!("hostmaster.{zone}."))?);
    let times = [60, 10, 86_400];
    let soa = SOA::new(server, mail, names.serial(), times[0], times[1], times[2], TTL);
    Some(Record::from_rdata(name(&format!("{zone}."))?, TTL, RData::SOA(soa)))
}
