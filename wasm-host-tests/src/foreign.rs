//! Foreign functions: Envoy's functions outside the ABI.

use crate::abi::Status;
use crate::vm_state::VmState;

/// The filter state keys that a module can set, because they have an object factory.
const KNOWN_KEYS: [&str; 4] = [
    "envoy.tcp_proxy.cluster",
    "envoy.network.upstream_server_name",
    "envoy.network.upstream_subject_alt_names",
    "envoy.network.application_protocols",
];

/// `proxy_call_foreign_function` for a context. None of the functions modelled here returns a
/// result.
pub(crate) fn call(state: &mut VmState, context: u32, function: &[u8], arguments: &[u8]) -> Status {
    match function {
        b"set_envoy_filter_state" => set_envoy_filter_state(state, context, arguments),
        _ => Status::NotFound,
    }
}

fn set_envoy_filter_state(state: &mut VmState, context: u32, arguments: &[u8]) -> Status {
    let Some(Arguments { path, value, .. }) = Arguments::parse(arguments) else {
        return Status::BadArgument;
    };
    let Some(stream) = state.stream_mut(context) else { return Status::NotFound };
    if !KNOWN_KEYS.contains(&path.as_str()) {
        return Status::NotFound;
    }
    stream.filter_state.insert(path, value.into_bytes());
    Status::Ok
}

/// `SetEnvoyFilterStateArguments {1: string path, 2: string value, 3: LifeSpan span}`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Arguments {
    path: String,
    value: String,
    /// FilterChain 0, DownstreamRequest 1, DownstreamConnection 2.
    span: u64,
}

impl Arguments {
    fn parse(mut bytes: &[u8]) -> Option<Self> {
        let mut arguments = Self::default();
        while !bytes.is_empty() {
            match varint(&mut bytes)? {
                0x0a => arguments.path = string(&mut bytes)?,
                0x12 => arguments.value = string(&mut bytes)?,
                0x18 => arguments.span = varint(&mut bytes)?,
                _ => return None,
            }
        }
        Some(arguments)
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn string(bytes: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(varint(bytes)?).ok()?;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_decoded_from_protobuf() {
        let parsed = Arguments::parse(b"\x0a\x03a.b\x12\x02xy\x18\x02").unwrap();
        assert_eq!(parsed, Arguments { path: "a.b".to_owned(), value: "xy".to_owned(), span: 2 });
        for bad in [&b"\x0a"[..], b"\x0a\x09a", b"\x0a\x01\xff", b"\xff\xff"] {
            assert_eq!(Arguments::parse(bad), None, "{bad:?}");
        }
    }
}
