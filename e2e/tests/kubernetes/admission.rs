//! What the API server refuses of the objects that operators write, and what it takes: definitions, and admission policies.

mod before;
mod federations;
mod policies;
mod server;
mod services;
