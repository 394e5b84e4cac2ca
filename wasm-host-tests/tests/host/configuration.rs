//! Invalid configurations are refused with a reason and without a trap, and the last good one stays
//! in force.

use crate::support::*;
use fedgate_core::read_configuration;
use fedgate_wasm_host::abi::LogLevel;
use fedgate_wasm_host::{Failure, Plugin, Proxy, Rejected};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

fn configure(proxy: &mut Proxy, json: impl AsRef<[u8]>) -> Result<(), Rejected> {
    proxy.configure(LISTENER, Plugin::new("fedgate", json))
}

/// Asserts that the configuration is refused with a log line, and that the previous one stays in
/// force.
#[track_caller]
fn assert_refused_configuration(json: impl AsRef<[u8]>, expected: &str) {
    let mut proxy = gateway(&Exports::standard(1));
    let connection = open(&mut proxy, WEB, ALPHA);
    proxy.take_log();
    assert_eq!(configure(&mut proxy, json), Err(Rejected(Failure::Refused)));
    let log = proxy.take_log();
    let logged = |text: &str| {
        log.iter().any(|line| line.level == LogLevel::Error && line.text.contains(text))
    };
    assert!(logged(expected) && logged("the last good table stays in force"), "{log:?}");
    proxy.advance(2_000);
    assert_goes_on(&mut proxy, "1");
    assert_passes(&proxy, connection, WEB);
}

#[track_caller]
fn assert_goes_on(proxy: &mut Proxy, generation: &str) {
    assert_eq!(proxy.failures(), [&Failure::Refused; 0]);
    let connection = open(proxy, WEB, ALPHA);
    assert_eq!(proxy.stream(connection).filter_state("wasm.fedgate.generation"), Some(generation));
    let refused = call(proxy, client(WEB, GAMMA));
    assert_refused(proxy, refused, "not_granted");
}

/// A valid configuration of generation 2, with a change.
fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut json: Value = serde_json::from_str(&Exports::standard(2).json()).unwrap();
    change(&mut json);
    json.to_string()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, &byte| word << 8 | u32::from(byte))
            << (8 * (3 - chunk.len()));
        for position in 0..4 {
            let digit = char::from(DIGITS[(word >> (18 - 6 * position) & 0x3f) as usize]);
            out.push(if position <= chunk.len() { digit } else { '=' });
        }
    }
    out
}

/// The valid configuration with this table instead, and the matching content hash in its header.
fn with_table(table: &[u8]) -> String {
    let hash: String = Sha256::digest(&table[..table.len() - 32])
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    changed(|json| {
        json["table"] = base64(table).into();
        json["contentHash"] = format!("sha256:{hash}").into();
    })
}

#[test]
fn the_test_configuration_equals_the_controllers() {
    let exports = Exports::standard(2);
    let json: Value = serde_json::from_str(&exports.json()).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&with_table(&exports.table())).unwrap(), json);
}

#[test]
fn a_configuration_that_is_not_a_json_object_is_refused() {
    for json in
        ["no json", "{", "[]", "null", "\"text\"", "{}", "{\"format\":1}", "\0", "\u{feff}{}"]
    {
        assert_refused_configuration(json, "is not the JSON object that this filter expects");
    }
    assert_refused_configuration(
        b"\xff\xfe\x00\x80",
        "is not the JSON object that this filter expects",
    );
    assert_refused_configuration(
        "[".repeat(100_000),
        "is not the JSON object that this filter expects",
    );
    // Envoy passes a Struct as its protobuf bytes.
    assert_refused_configuration(b"\x0a\x0e\x0a\x06format\x12\x09\x11", "is not the JSON object");
}

#[test]
fn an_empty_configuration_keeps_the_last_table() {
    let mut proxy = gateway(&Exports::standard(1));
    let connection = open(&mut proxy, WEB, ALPHA);
    configure(&mut proxy, "").unwrap();
    proxy.advance(2_000);
    assert_passes(&proxy, connection, WEB);
    assert_goes_on(&mut proxy, "1");
    assert!(
        proxy
            .take_log()
            .iter()
            .any(|line| line.level == LogLevel::Warn && line.text.contains("empty"))
    );
}

#[test]
fn a_configuration_with_a_wrong_field_is_refused() {
    assert_refused_configuration(changed(|json| json["format"] = json!(3)), "format version 3");
    assert_refused_configuration(changed(|json| json["surprise"] = json!(1)), "surprise");
    assert_refused_configuration(
        changed(|json| json["generation"] = json!(3)),
        "configuration's generation is",
    );
    assert_refused_configuration(
        changed(|json| json["trustDomain"] = json!("x")),
        "trustDomain is",
    );
    assert_refused_configuration(changed(|json| json["exports"] = json!(5)), "exports is");
    assert_refused_configuration(
        changed(|json| json["contentHash"] = json!("sha256:00")),
        "contentHash is",
    );
    assert_refused_configuration(
        changed(|json| json["table"] = json!("%%%")),
        "table is not base64",
    );
    assert_refused_configuration(changed(|json| json["table"] = json!("")), "table");
    assert_refused_configuration(
        changed(|json| json["options"]["waitForIdentity"] = json!("never")),
        "never",
    );
    assert_refused_configuration(
        changed(|json| json["options"]["identityTimeoutMs"] = json!(0)),
        "identityTimeoutMs is 0",
    );
    assert_refused_configuration(
        changed(|json| json["options"]["namedPeers"] = json!(1_000_000)),
        "namedPeers is 1000000",
    );
}

#[test]
fn huge_numbers_are_refused() {
    let json = Exports::standard(2).json();
    for number in ["18446744073709551616", "-1", "1e400", "2.5", &"9".repeat(10_000)] {
        let json = json.replacen("\"generation\":2", &format!("\"generation\":{number}"), 1);
        assert_refused_configuration(json, "is not the JSON object that this filter expects");
    }
    assert_refused_configuration(
        changed(|json| json["generation"] = json!(u64::MAX)),
        "generation",
    );
    assert_refused_configuration(changed(|json| json["exports"] = json!(u32::MAX)), "exports");
}

#[test]
fn a_truncated_configuration_is_refused() {
    let json = Exports::standard(2).json();
    let mut proxy = gateway(&Exports::standard(1));
    for length in (1..json.len()).step_by(7).chain([json.len() - 1]) {
        assert_eq!(
            configure(&mut proxy, &json[..length]),
            Err(Rejected(Failure::Refused)),
            "{length}"
        );
    }
    assert_goes_on(&mut proxy, "1");
}

#[test]
fn a_truncated_table_is_refused() {
    let table = Exports::standard(2).table();
    let mut proxy = gateway(&Exports::standard(1));
    for length in (32..table.len()).step_by(13) {
        let mut cut = table[..length].to_vec();
        assert_eq!(
            configure(&mut proxy, with_table(&cut)),
            Err(Rejected(Failure::Refused)),
            "{length}"
        );
        rehash(&mut cut);
        assert_eq!(
            configure(&mut proxy, with_table(&cut)),
            Err(Rejected(Failure::Refused)),
            "{length} rehashed"
        );
    }
    assert_goes_on(&mut proxy, "1");
}

fn rehash(table: &mut [u8]) {
    let (content, hash) = table.split_at_mut(table.len() - 32);
    hash.copy_from_slice(&Sha256::digest(content));
}

#[test]
fn flipped_bits_never_trap_and_never_grant() {
    let json = Exports::standard(2).json();
    let mut proxy = gateway(&Exports::standard(1));
    let mut accepted = 0;
    for offset in (0..json.len()).step_by(3) {
        let mut bytes = json.as_bytes().to_vec();
        bytes[offset] ^= 1 << (offset % 8);
        match configure(&mut proxy, &bytes) {
            Err(rejected) => assert_eq!(rejected, Rejected(Failure::Refused), "byte {offset}"),
            // A flipped bit may change an option to another valid value, but never the table.
            Ok(()) => accepted += 1,
        }
    }
    assert!(accepted < 10, "{accepted}");
    let generation = if accepted == 0 { "1" } else { "2" };
    assert_goes_on(&mut proxy, generation);
}

/// Anyone who can compute a checksum can write any table. The module then answers like the native
/// library, and neither panics nor traps.
#[test]
fn a_corrupt_table_with_a_valid_checksum_gets_the_same_answer_as_natively() {
    let table = Exports::standard(2).table();
    let mut proxy = proxy();
    let mut refused = 0;
    for offset in 0..table.len() - 32 {
        let mut bytes = table.clone();
        bytes[offset] ^= 1 << (offset % 8);
        rehash(&mut bytes);
        let json = with_table(&bytes);
        let expected = match read_configuration(json.as_bytes()) {
            Ok(_) => Ok(()),
            Err(_) => Err(Rejected(Failure::Refused)),
        };
        refused += u32::from(expected.is_err());
        assert_eq!(configure(&mut proxy, json), expected, "byte {offset}");
    }
    assert!(refused > 100, "{refused}");
    assert!(proxy.failures().is_empty());
}

#[test]
fn random_tables_are_refused() {
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let good = Exports::standard(2).table();
    let mut proxy = gateway(&Exports::standard(1));
    for _ in 0..200 {
        let mut table: Vec<u8> =
            (0..64 + random() as usize % 2_000).map(|_| random() as u8).collect();
        // Half of them have a header that begins correctly.
        if random() % 2 == 0 {
            table[..20].copy_from_slice(&good[..20]);
        }
        rehash(&mut table);
        assert_eq!(configure(&mut proxy, with_table(&table)), Err(Rejected(Failure::Refused)));
    }
    assert_goes_on(&mut proxy, "1");
}

#[test]
fn a_valid_update_after_a_refused_one_is_adopted() {
    let mut proxy = gateway(&Exports::standard(1));
    let revoked = open(&mut proxy, WEB, ALPHA);
    configure(&mut proxy, "broken").unwrap_err();
    update(&mut proxy, &Exports::standard(3).without_grant(WEB, "alpha"));
    proxy.advance(2_000);
    assert!(!is_open(&proxy, revoked));
}

#[test]
fn a_broken_first_configuration_is_refused() {
    assert_eq!(configure(&mut proxy(), "broken"), Err(Rejected(Failure::Refused)));
}

#[test]
fn a_refused_configuration_reaches_no_other_vm() {
    let mut proxy = gateway(&Exports::standard(1));
    let before: Vec<_> =
        proxy.shared_data_keys("").iter().map(|key| proxy.shared_data("", key)).collect();
    configure(&mut proxy, changed(|json| json["generation"] = json!(9))).unwrap_err();
    let after: Vec<_> =
        proxy.shared_data_keys("").iter().map(|key| proxy.shared_data("", key)).collect();
    assert_eq!(before, after);
}

#[test]
fn gauges_show_the_accepted_table() {
    let mut proxy = gateway(&Exports::standard(41));
    assert_eq!(
        (proxy.metric("fedgate.table.generation"), proxy.metric("fedgate.table.rows")),
        (Some(41), Some(4))
    );
    update(&mut proxy, &Exports::standard(42).without_export(LONELY));
    assert_eq!(
        (proxy.metric("fedgate.table.generation"), proxy.metric("fedgate.table.rows")),
        (Some(42), Some(3))
    );
}
