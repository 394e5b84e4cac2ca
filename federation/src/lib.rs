//! What the controller knows and decides, without touching the world: documents, tokens, trust bundles, policies, and
//! [`federate()`], which turns all of it into what is in force.
//!
//! There is no I/O, async, clock or randomness in here. Time is an argument ([`jiff::Timestamp`]), keys are made from seeds
//! that somebody else drew, and everything that an operator should see comes out as values ([`Finding`]).
//!
//! | module | what it is |
//! | --- | --- |
//! | [`object`] | the operator's objects, as adapters hand them over |
//! | [`document`] | what clusters tell each other, parsed with limits and written as DKP reads it |
//! | [`key`], [`token`] | who may fetch the private document |
//! | [`bundle`] | roots, and the bundle map for Envoy |
//! | [`credentials`] | this cluster's own certificates, and what is wrong with them |
//! | [`knowledge`] | what is known of one peer, and what may change it |
//! | [`form`], [`spelling`] | objects into types, and what is wrong with those that do not fit |
//! | `json`, `pem_text`, `strict` | reading a stranger's JSON, PEM and certificates |
//! | `finding` | what an operator should see |
//! | [`grant`] | who may reach an export |
//! | [`own`] | what this cluster listens on itself |
//! | [`mod@federate`] | all of it together |
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod bundle;
pub mod credentials;
pub mod document;
pub mod federate;
mod finding;
pub mod form;
pub mod grant;
mod json;
pub mod key;
pub mod knowledge;
pub mod object;
pub mod own;
mod pem_text;
pub mod spelling;
mod strict;
pub mod token;

pub use federate::{Federation, Inputs, LocalCluster, federate};
pub use finding::{Finding, FindingReason, ObjectRef, Severity, shown, shown_long};
