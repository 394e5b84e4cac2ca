//! The size of the filter's module, which each worker of each gateway compiles.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[test]
fn the_module_has_less_than_400_kb() {
    let module = xtask::wasm::build().unwrap();
    let bytes = std::fs::metadata(module).unwrap().len();
    println!("{bytes} bytes");
    assert!(bytes < 400_000, "{bytes} bytes");
}
