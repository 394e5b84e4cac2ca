//! Fetching what peers publish.
mod client;
mod failure;
mod fetch;
#[cfg(test)]
mod fetch_tests;
mod pace;
mod settings;

pub use client::SystemRoots;
pub use failure::FetchFailure;
pub use settings::{FetchLimits, ImporterSettings};
