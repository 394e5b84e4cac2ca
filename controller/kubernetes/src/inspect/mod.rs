//! What runs on a user's machine with a user's kubeconfig: the command line's questions to a cluster. The controller uses
//! nothing of it.

pub mod check;
pub mod snapshot;
pub mod uninstall;
