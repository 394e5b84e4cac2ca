//! wasm-host-tests
