//! What runs on a user's machine with the user's kubeconfig: the command line's queries to a
//! cluster. The controller does not use this module, except in tests.

pub mod approve;
pub mod beside;
pub mod changes;
pub mod check;
pub mod names;
pub mod snapshot;
pub mod stats;
pub mod uninstall;
