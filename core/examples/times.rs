#[path = "../tests/support/mod.rs"]
mod support;
use std::time::Instant;
use support::realistic::*;
fn main() {
    for names in [Names::Words, Names::Hexadecimal] {
        for count in [10, 10_000, 100_000] {
            let t = Instant::now();
            let b = builder(names, count);
            let collect = t.elapsed();
            let t = Instant::now();
            let bytes = b.build(1).unwrap();
            let build = t.elapsed();
            let t = Instant::now();
            let table = fedgate_core::Table::read(bytes.clone()).unwrap();
            let read = t.elapsed();
            let t = Instant::now();
            use sha2::Digest;
            std::hint::black_box(sha2::Sha256::digest(&bytes));
            let sha = t.elapsed();
            let snis: Vec<String> = services(names, count).iter().map(|s| s.sni()).collect();
            let mut rng = fastrand::Rng::with_seed(3);
            let n = 1_000_000;
            let t = Instant::now();
            for _ in 0..n {
                std::hint::black_box(fedgate_core::admit(&table, Some(&snis[rng.usize(..snis.len())])).unwrap());
            }
            let admit = t.elapsed() / n;
            let t = Instant::now();
            for _ in 0..n {
                std::hint::black_box(fedgate_core::decide(
                    &table,
                    Some(&snis[rng.usize(..snis.len())]),
                    Some("spiffe://cluster-7.example/ns/orders-x/sa/payment"),
                ));
            }
            let decide = t.elapsed() / n;
            println!(
                "{names:?} {count}: {:.2} B/row, collect {collect:?} build {build:?} read {read:?} (sha {sha:?}) admit {admit:?} decide {decide:?}",
                bytes.len() as f64 / count as f64
            );
        }
    }
    // worst rows
    let mut b = fedgate_core::TableBuilder::new("b".parse().unwrap());
    let host = ["a".repeat(63), "b".repeat(63), "c".repeat(63)].join(".") + "." + &"d".repeat(60);
    for p in 1..=65535u16 {
        b.export(format!("{host}1:{p}").parse().unwrap(), vec![]).unwrap();
        b.export(format!("{host}:{p}").parse().unwrap(), vec![]).unwrap();
    }
    let bytes = b.build(1).unwrap();
    let t = Instant::now();
    fedgate_core::Table::read(bytes.clone()).unwrap();
    println!("worst {} bytes read {:?}", bytes.len(), t.elapsed());
}
