//! What a long-running process needs, whatever it does: listening, signals, tasks that must not end, time, and files that change.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`clock`], [`pace`], [`backoff`](mod@backoff) | time that tests can set, when to compile next, how long to wait after a failure |
//! | [`listen`], [`signals`] | sockets to listen on, and being told to stop |
//! | [`tasks`] | tasks whose end ends the process |
//! | [`file_watch`] | changes of files and folders |
//! | [`logging`], [`words`] | the log, and the system's errors in plain words |
//! | [`machine`] | descriptors, inotify, and the processes that run |
//! | [`beside`] | what lies beside the program |

// Tests make files as operators and their editors do, and start strangers of their own.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::disallowed_macros))]

pub mod backoff;
pub mod beside;
pub mod clock;
pub mod file_watch;
pub mod listen;
pub mod logging;
pub mod machine;
pub mod pace;
pub mod signals;
pub mod tasks;
pub mod words;
