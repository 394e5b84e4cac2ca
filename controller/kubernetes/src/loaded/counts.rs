//! How many Pods have the table.

/// How many Pods have the table, have another one or none, or do not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Pods with the table.
    pub(crate) loaded: usize,
    /// Pods with another table or none, or with threads that lack it.
    pub(crate) behind: usize,
    /// Pods that do not answer.
    pub(crate) unknown: usize,
    /// The lowest generation of the Pods that answer.
    pub(crate) lowest: u64,
}
