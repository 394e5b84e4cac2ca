//! Kubernetes as source and sink.

pub mod crd;
