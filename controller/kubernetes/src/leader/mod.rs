//! The election of the leader, what it stores on the Lease, and the history of changes that it keeps.

pub(crate) mod changes;
pub(crate) mod confirmations;
pub(crate) mod election;
