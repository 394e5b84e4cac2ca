//! A DNS server for the names of imports, to which a cluster's own DNS forwards their zones.
//!
//! It answers from memory, only for its zones, and asks nobody else: a name outside of them is
//! refused. So a wrong forward in a Corefile breaks no other name, and the server is no open
//! resolver.
//!
//! | module | what it is |
//! | --- | --- |
//! | `table` | the names and zones, and what they say about a name |
//! | `answer` | one message in, one message out. Pure |
//! | `serve` | sockets, with a limit for each client |

mod answer;
mod serve;
mod table;
#[cfg(test)]
mod tests;

pub use serve::{Metrics, Served, serve_tcp, serve_udp};
pub use table::{Names, zone_of};
