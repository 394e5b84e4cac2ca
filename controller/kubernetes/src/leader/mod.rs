//! The election of the leader, and what it stores on the Lease.

pub(crate) mod confirmations;
pub(crate) mod election;
