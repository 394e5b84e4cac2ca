//! Tests on real Envoys and real controllers; `cargo xtask e2e` runs them. Each allow has its deny.

mod harness;
