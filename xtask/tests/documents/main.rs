//! Documents for developers agree with the code: crates, modules, files, tasks, ports, links.

mod architecture;
mod bans;
mod links;
mod markdown;
mod modules;
mod sources;
mod walls;
mod workflows;
