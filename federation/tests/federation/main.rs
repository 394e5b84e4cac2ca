//! The crate from outside, as the controller uses it.

mod clocks;
mod credentials;
mod documents;
mod federating;
mod grants;
mod grants_twin;
mod health;
mod keys;
mod knowing;
mod last_valid;
mod limiting;
mod locating;
mod noticing;
mod objects;
mod passing_through;
mod peering;
mod probing;
mod readable;
mod reasons;
mod rig;
mod rotating;
mod snapshot;
mod tokens;
mod unbroken;
