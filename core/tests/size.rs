//! The size of tables with realistic names, and that everything in them is found.

mod support;
use fedgate_core::{ServicePort, Table, write_configuration};
use support::realistic::{Names, builder, services};

fn bytes_per_row(names: Names, count: usize) -> f64 {
    let table = builder(names, count).build(1).unwrap();
    let each = table.len() as f64 / count as f64;
    println!("{names:?}, {count} exports: {} bytes, {each:.2} a row", table.len());
    each
}

#[test]
fn a_row_takes_at_most_16_bytes_at_100_000_exports() {
    assert!(bytes_per_row(Names::Words, 100_000) <= 16.0);
    assert!(bytes_per_row(Names::Hexadecimal, 100_000) <= 16.0);
}

#[test]
fn ten_thousand_exports_fit_in_a_kubernetes_object() {
    for names in [Names::Words, Names::Hexadecimal] {
        bytes_per_row(names, 10_000);
        let table = Table::read(builder(names, 10_000).build(1).unwrap()).unwrap();
        let json = serde_json::to_vec(&write_configuration(&table, Default::default())).unwrap();
        assert!(json.len() < 512 << 10, "{} bytes", json.len());
    }
}

#[test]
fn each_of_many_exports_is_found_and_no_other() {
    let table = Table::read(builder(Names::Hexadecimal, 20_000).build(1).unwrap()).unwrap();
    let services = services(Names::Hexadecimal, 20_000);
    for service in &services {
        assert!(table.export(service.host.as_str(), service.port).is_some(), "{service}");
        let other_port = ServicePort::new(service.port.get() ^ 1).unwrap();
        assert!(table.export(service.host.as_str(), other_port).is_none(), "{service}");
        let longer = format!("a{}", service.host);
        assert!(table.export(&longer, service.port).is_none(), "{longer}");
    }
    assert!(
        table.exports().map(|(service, _)| service).collect::<std::collections::BTreeSet<_>>()
            == services
    );
}
