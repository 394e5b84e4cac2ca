//! The documents that clusters exchange: what is written, and what is accepted.

mod bundles;
mod private;
mod public;

use crate::rig::{domain, public, root};
use fedgate_federation::document::{
    DocumentError, Limits, Parsed, PrivateDocument, PublicDocument,
};
use serde_json::{Value, json};

fn read_public(value: &Value) -> Result<Parsed<PublicDocument>, DocumentError> {
    PublicDocument::parse(value.to_string().as_bytes(), &crate::rig::beta(), &Limits::default())
}

fn read_private(value: &Value) -> Result<Parsed<PrivateDocument>, DocumentError> {
    read_limited(value, &Limits::default())
}

fn read_limited(value: &Value, limits: &Limits) -> Result<Parsed<PrivateDocument>, DocumentError> {
    PrivateDocument::parse(
        value.to_string().as_bytes(),
        &domain("beta.example"),
        &crate::rig::beta(),
        limits,
    )
}

fn public_value() -> Value {
    serde_json::from_slice(&public('2', 2, "beta.example", vec![root()]).to_json()).unwrap()
}

fn web() -> Value {
    json!({"hostname": "web.shop.svc.beta.example", "ports": [{"name": "http", "port": 80}]})
}

fn with_services(services: Value) -> Value {
    json!({"ingressGateways": [{"address": "192.0.2.1", "port": 15443}], "publicServices": services})
}
