//! How large tables of realistic names are.

mod support;
use support::realistic::{Names, builder};

#[test]
fn measure() {
    for names in [Names::Words, Names::Hexadecimal] {
        for count in [10_000, 100_000] {
            let table = builder(names, count).build(1).unwrap();
            println!("{names:?} {count}: {} bytes, {:.2} a row", table.len(), table.len() as f64 / count as f64);
        }
    }
}
