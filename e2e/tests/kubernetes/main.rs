//! Tests on real Kubernetes API servers, run by `cargo xtask e2e kubernetes`. Each test of
//! something allowed has one of something denied.

mod absent;
mod admission;
mod chart;
mod claims;
mod command_line;
mod events;
mod exports;
mod federated;
mod fixture;
mod guide;
mod held;
mod loaded;
mod malformed;
mod mcs;
mod moves;
mod network;
mod pods;
mod privilege;
mod recipes;
mod recovery;
mod removal;
mod restore;
mod rig;
mod roll;
mod shipping;
mod table;
mod terminal;
mod thousand;
mod trio;
mod ui;
mod uninstall;
mod views;
mod writes;
