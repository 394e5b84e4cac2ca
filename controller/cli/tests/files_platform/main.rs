//! The files platform from outside: settings, the command line, and controllers that pair over real
//! TLS on loopback.

mod cluster;
mod commands;
mod credentials;
mod crowd;
mod disk;
mod far_side;
mod kernel;
mod messages;
mod mistakes;
#[path = "../../../../federation/tests/federation/readable.rs"]
mod readable;
mod rotation;
mod running;
mod settings;
mod sources;
mod trust;
