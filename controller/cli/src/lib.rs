//! The command line: the only place that knows both platforms.

// Tests create files as operators and editors do, and start other programs.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::disallowed_macros))]

pub mod command;
mod terminal;
