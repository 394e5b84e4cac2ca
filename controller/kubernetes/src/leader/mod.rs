//! What makes one replica the leader, and what it keeps on the Lease.

pub mod confirmations;
pub mod election;
