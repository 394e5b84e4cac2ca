//! `FederatedService`s on real sidecars: one name over this cluster's Service and those of peers.

mod checks;
mod failover;
mod grants;
mod ingress;
mod load;
mod order;
mod protocols;
mod sharing;
mod spillover;
mod trio;
