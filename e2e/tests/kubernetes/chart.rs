//! The chart: what it renders, that a real API server accepts it, and that it installs, upgrades
//! and uninstalls.

mod admitted;
mod combinations;
mod installed;
mod lifecycle;
mod monitoring;
mod settings;
mod upgrade;
mod values;
