//! Traces of changes: from what was seen, through the table, to what peers were told. They go to an
//! OpenTelemetry collector (OTLP over HTTP, protobuf), and only if the settings name one.
//!
//! ```text
//! Causes (what was seen) ──► Change (the root span) ──► Step (a child span) ──► queue ──► collector
//!                                 │                                               (full: dropped)
//!                                 └──► Origin ──► `traceparent` of the answer to a peer
//! ```
//!
//! Without a collector, [`Tracer`] and [`Change`] are empty, and a step costs a comparison with
//! `None`: no clock is read and nothing is allocated.
//!
//! Each cluster has its own traces. What a peer says about its trace becomes a *link*, never a
//! parent, so a peer decides neither what is recorded nor under which ID. Attributes hold names of
//! this cluster's objects and counts; text that a peer chooses is not among them.

mod causes;
mod change;
mod collector;
mod endpoint;
mod origin;
mod roots;
mod tracer;

pub use causes::{Causes, Received};
pub use change::{Change, Step};
pub use endpoint::{Endpoint, EndpointText, InvalidEndpoint};
pub use origin::{Origin, TRACEPARENT};
pub use roots::RootsError;
pub use tracer::{Instance, StartError, Tracer};

#[cfg(any(test, feature = "test-support"))]
mod recorded;
#[cfg(test)]
mod tests;

#[cfg(any(test, feature = "test-support"))]
pub use recorded::Recorded;
