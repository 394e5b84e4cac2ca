//! What both platforms share: one snapshot of all sources, compiled, and what operators see of it.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`brain`] | what is known, compiled into a federation |
//! | [`in_force`] | what is in force, for all who ask |
//! | [`explain`], [`status`] | why a call passes or not, and how the federation fares |
//! | [`running`] | whether the Envoys of the site run |
//! | [`metrics`] | the metrics of a controller |
//! | `service` | a Service, read for exports |

// Tests make files as operators and their editors do, and start strangers of their own.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::disallowed_macros))]

pub mod brain;
pub mod explain;
pub mod in_force;
pub mod metrics;
pub mod running;
mod service;
pub mod status;

pub use service::service_object;
