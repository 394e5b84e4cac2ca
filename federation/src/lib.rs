//! The pure part of the controller: documents, tokens, trust bundles and policies. [`federate()`]
//! combines them into the desired state.
//!
//! This crate has no I/O, async, clock or randomness. Time is an argument ([`jiff::Timestamp`]).
//! Keys are derived from seeds that the caller draws. Everything that an operator should see is
//! returned as a value ([`Finding`]).
//!
//! | module | what it is |
//! | --- | --- |
//! | [`object`] | the operator's objects, as adapters hand them over |
//! | [`document`] | the documents that clusters exchange: parsed with limits, written as DKP reads them |
//! | [`key`], [`token`] | authentication of peers that fetch a private document |
//! | [`header`] | values of HTTP header fields that strangers send |
//! | [`signature`] | authentication of documents |
//! | [`bundle`] | roots, and the bundle map for Envoy |
//! | [`credentials`] | this cluster's own certificates, and their faults |
//! | [`knowledge`] | what is known of one peer, and how it changes |
//! | [`form`], [`spelling`] | conversion of objects into types, and the faults of those that do not fit |
//! | `json`, `pem_text`, `strict` | parsers for untrusted JSON, PEM and certificates |
//! | `finding` | what an operator should see |
//! | [`grant`] | who may reach an export |
//! | [`proxy_header`] | what a load balancer says of a connection |
//! | [`own`] | the addresses that this cluster itself listens on |
//! | [`mod@federate`] | the function that combines all of the above |
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod bundle;
pub mod credentials;
pub mod document;
pub mod federate;
mod finding;
pub mod form;
pub mod grant;
pub mod header;
mod json;
pub mod key;
pub mod knowledge;
pub mod object;
pub mod own;
mod pem_text;
pub mod proxy_header;
pub mod signature;
pub mod spelling;
mod strict;
pub mod token;

pub use federate::{Federation, Inputs, LocalCluster, federate, federate_again};
pub use finding::{Finding, FindingReason, ObjectRef, Severity, Shown, shown};
