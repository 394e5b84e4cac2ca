//! Which objects of operators the API server refuses and which it accepts, by definitions and
//! admission policies.

mod before;
mod federated_services;
mod federations;
mod policies;
mod server;
mod services;
