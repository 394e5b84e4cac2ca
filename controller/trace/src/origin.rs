//! Which span a change follows from, as it travels from cluster to cluster: the header
//! `traceparent` of W3C Trace Context.

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// The name of the header.
pub const TRACEPARENT: &str = "traceparent";

/// The size of the only version there is: `00-TRACE_ID-SPAN_ID-FLAGS`.
const SIZE: usize = 2 + 1 + 32 + 1 + 16 + 1 + 2;

/// A span of another cluster, or of this one for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(SpanContext);

impl Origin {
    pub(crate) fn new(context: &SpanContext) -> Self {
        Self(context.clone())
    }

    pub(crate) fn context(&self) -> &SpanContext {
        &self.0
    }

    /// Reads a header's value. `None` unless it is exactly of version 00: it is a peer's word, and
    /// a trace can do without it.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text = str::from_utf8(value).ok().filter(|text| text.len() == SIZE)?;
        let mut parts = text.split('-');
        let mut part = |size: usize| {
            parts.next().filter(|part| part.len() == size && part.bytes().all(is_lower_hex))
        };
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        let flags = u8::from_str_radix(flags, 16).ok().filter(|_| version == "00")?;
        let context = SpanContext::new(
            TraceId::from_hex(trace).ok()?,
            SpanId::from_hex(span).ok()?,
            TraceFlags::new(flags) & TraceFlags::SAMPLED,
            true,
            TraceState::NONE,
        );
        context.is_valid().then_some(Self(context))
    }

    /// The header's value.
    pub fn to_header(&self) -> String {
        let Self(context) = self;
        let flags = (context.trace_flags() & TraceFlags::SAMPLED).to_u8();
        format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id())
    }
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_header_is_read_as_it_is_written() {
        assert_eq!(Origin::parse(GOOD.as_bytes()).unwrap().to_header(), GOOD);
        // Flags that this version does not know are not handed on.
        let other = GOOD.replace("-01", "-ff");
        assert_eq!(Origin::parse(other.as_bytes()).unwrap().to_header(), GOOD);
    }

    #[test]
    fn anything_else_is_ignored() {
        let long = format!("{GOOD}-more");
        for text in [
            "",
            "00",
            &GOOD[1..],
            &long,
            &GOOD.replace("00-4", "01-4"),
            &GOOD.replace("00-4", "ff-4"),
            &GOOD.to_uppercase(),
            &GOOD.replace('-', "_"),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &GOOD.replace("4bf9", "+bf9"),
        ] {
            assert_eq!(Origin::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Origin::parse(&[0xff; SIZE]), None);
    }
}
