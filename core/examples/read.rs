#[path = "../tests/support/mod.rs"]
mod support;
use support::realistic::*;
fn main() {
    let bytes = builder(Names::Words, 100_000).build(1).unwrap();
    for _ in 0..100 {
        std::hint::black_box(fedgate_core::Table::read(bytes.clone()).unwrap());
    }
}
