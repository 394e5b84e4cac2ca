//! What any long-running process needs: listening, signals, tasks that must not end, time, and
//! watched files.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`clock`], [`schedule`], [`backoff`](mod@backoff) | time that tests can set, when to compile next, how long to wait after failures |
//! | [`listen`], [`signals`] | sockets to listen on, and requests to stop |
//! | [`tasks`] | tasks whose end ends the process |
//! | [`file_watch`] | changes of files and folders |
//! | [`regular_file`] | reads files that may be something else |
//! | [`logging`], [`words`] | the log, and system errors in plain words |
//! | [`machine`] | the kernel's limits: file descriptors, inotify |
//! | [`envoy_processes`] | the Envoys that run on this machine |
//! | [`filter_module`] | the filter module next to the program |

// Tests create files the way operators and their editors do, and start servers of their own.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::disallowed_macros))]

pub mod backoff;
pub mod clock;
pub mod envoy_processes;
pub mod file_watch;
pub mod filter_module;
pub mod listen;
pub mod logging;
pub mod machine;
pub mod regular_file;
pub mod schedule;
pub mod signals;
pub mod tasks;
pub mod words;
