//! What the documents for developers say of the code is so: crates, modules, files, tasks, ports, links.

mod architecture;
mod bans;
mod links;
mod markdown;
mod modules;
mod sources;
mod walls;
