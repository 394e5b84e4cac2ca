//! The election of the leader, and what it stores on the Lease.

pub mod confirmations;
pub mod election;
