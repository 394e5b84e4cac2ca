//! Runs the real filter module in the test proxy. One module for each topic.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

mod budget;
mod configuration;
mod decision;
mod failure;
mod identity;
mod life_cycle;
mod metrics;
mod passthrough;
mod revocation;
mod several;
