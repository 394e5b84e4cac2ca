//! The files platform from outside: settings, the command line, and controllers that pair over real
//! TLS on loopback.

mod advertise;
mod bundle;
mod cluster;
mod commands;
mod credentials;
mod crowd;
mod disk;
mod far_side;
mod kernel;
mod messages;
mod mistakes;
mod otlp;
mod page;
mod progress;
#[path = "../../../../federation/tests/federation/readable.rs"]
mod readable;
mod rotation;
mod running;
mod settings;
mod shell;
mod sources;
mod terminal;
mod traces;
mod trust;
