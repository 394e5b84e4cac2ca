//! What both platforms share: a snapshot of all sources, its compilation, and what operators see of
//! it.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`compiler`] | compiles everything known into a federation |
//! | [`confirmations`] | when peers' documents were last confirmed |
//! | [`in_force`] | what is in force, for all readers |
//! | [`explain`], [`status`] | why a call passes or not, and the state of the federation |
//! | [`history`] | what happened when, kept over a restart |
//! | [`federated`] | federated names, and who takes their calls |
//! | [`readiness`] | whether a peer is ready, in words |
//! | [`turn`] | whose turn it is when a peer is not ready |
//! | [`running`] | whether the site's Envoys run |
//! | [`metrics`] | the controller's metrics |
//! | `service` | reads a Service for exports |
//! | `changed` | which objects a change is about, for traces |

// Tests create files the way operators and their editors do, and start servers of their own.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::disallowed_macros))]

mod changed;
pub mod compiler;
pub mod confirmations;
pub mod explain;
pub mod federated;
pub mod history;
pub mod in_force;
pub mod metrics;
pub mod readiness;
pub mod running;
mod service;
pub mod status;
pub mod turn;

pub use service::service_object;
