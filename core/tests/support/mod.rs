//! What the tests of this folder share.
#![allow(dead_code, unreachable_pub)]

pub mod realistic;
