//! How many Pods have the table.

/// How many Pods have the table, have another one or none, or do not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// They have it.
    pub(crate) loaded: usize,
    /// They have another one or none, or not all of their threads have it.
    pub(crate) behind: usize,
    /// They do not answer.
    pub(crate) unknown: usize,
    /// The lowest generation of those that answer.
    pub(crate) lowest: u64,
}
