//! The plugin's configuration: what is written can be read, and each mistake is refused by name.

mod support;
use base64::{Engine, prelude::BASE64_STANDARD};
use fedgate_core::{
    ConfigurationError, MAX_CONFIGURATION_BYTES, MAX_TABLE_BYTES, Options, Table, TableError,
    read_configuration, write_configuration,
};
use serde_json::{Value, json};
use support::realistic::{Names, builder};

fn table() -> Table {
    Table::read(builder(Names::Words, 10).build(7).unwrap()).unwrap()
}

/// The JSON configuration of a small table, after `change`.
fn changed(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value =
        serde_json::to_value(write_configuration(&table(), Options::default())).unwrap();
    change(&mut value);
    serde_json::to_vec(&value).unwrap()
}

#[track_caller]
fn refused(change: impl FnOnce(&mut Value), message: &str) {
    let error = read_configuration(&changed(change)).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
}

#[test]
fn a_configuration_round_trips() {
    let options = Options { identity_timeout_ms: 100, named_peers: 0, named_callers: 7 };
    let json = serde_json::to_vec(&write_configuration(&table(), options)).unwrap();
    let (read, read_options) = read_configuration(&json).unwrap();
    assert_eq!((read.as_bytes(), read_options), (table().as_bytes(), options));
}

#[test]
fn the_header_is_readable() {
    let mut value =
        serde_json::to_value(write_configuration(&table(), Options::default())).unwrap();
    assert_eq!(value["table"].take(), json!(BASE64_STANDARD.encode(table().as_bytes())));
    let hash = value["contentHash"].take();
    assert!(
        hash.as_str().unwrap().starts_with("sha256:") && hash.as_str().unwrap().len() == 7 + 64,
        "{hash}"
    );
    let expected = json!({
        "format": 1, "generation": 7, "contentHash": null, "trustDomain": "beta.example",
        "exports": 10, "peers": 50, "grantSets": 10, "table": null,
        "options": { "identityTimeoutMs": 15_000, "namedPeers": 100 },
    });
    assert_eq!(value, expected);
}

#[test]
fn options_may_be_left_out() {
    let without = changed(|value| drop(value.as_object_mut().unwrap().remove("options")));
    assert_eq!(read_configuration(&without).unwrap().1, Options::default());
    let one = changed(|value| value["options"] = json!({ "namedPeers": 5 }));
    assert_eq!(
        read_configuration(&one).unwrap().1,
        Options { named_peers: 5, ..Options::default() }
    );
}

/// Earlier versions write how connections wait. Only one way remains.
#[test]
fn the_options_of_an_earlier_version_are_read() {
    let waiting = |how: &str| changed(|value| value["options"]["waitForIdentity"] = json!(how));
    assert_eq!(read_configuration(&waiting("paused")).unwrap().1, Options::default());
    let error = read_configuration(&waiting("connected")).unwrap_err().to_string();
    assert!(error.contains("unknown variant `connected`"), "{error}");
}

#[test]
fn escaped_json_text_is_read() {
    let json = String::from_utf8(changed(|_| ()))
        .unwrap()
        .replace('/', "\\/")
        .replace("sha256", "sh\\u00612\\u00356");
    assert!(read_configuration(json.as_bytes()).is_ok());
}

#[test]
fn another_format_is_refused_before_anything_else() {
    let version = "format version 3, this program reads version 1 to 2";
    refused(|value| value["format"] = json!(3), version);
    refused(|value| value["format"] = json!(2), "format is 2, that of its table is 1");
    let newer = br#"{"format": 3, "something": "new"}"#;
    assert!(matches!(
        read_configuration(newer),
        Err(ConfigurationError::Table(TableError::Version(3)))
    ));
}

#[test]
fn a_header_that_contradicts_the_table_is_refused() {
    refused(|value| value["generation"] = json!(8), "generation is 8, that of its table is 7");
    refused(
        |value| value["contentHash"] = json!("sha256:00"),
        "contentHash is sha256:00, that of its table is sha256:",
    );
    refused(
        |value| value["trustDomain"] = json!("gamma.example"),
        "trustDomain is gamma.example, that",
    );
    refused(|value| value["exports"] = json!(11), "exports is 11, that of its table is 10");
    refused(|value| value["peers"] = json!(0), "peers is 0, that of its table is 50");
    refused(|value| value["grantSets"] = json!(4), "grantSets is 4, that of its table is 10");
}

#[test]
fn options_have_ranges() {
    for (field, good, bad) in [
        ("identityTimeoutMs", [100, 600_000], [99, 600_001]),
        ("namedPeers", [0, 1_000], [1_001, u32::MAX]),
        ("namedCallers", [0, 1_000], [1_001, u32::MAX]),
    ] {
        for value in good {
            assert!(
                read_configuration(&changed(|json| json["options"][field] = json!(value))).is_ok(),
                "{field} {value}"
            );
        }
        for value in bad {
            refused(
                |json| json["options"][field] = json!(value),
                &format!("options.{field} is {value}, expected"),
            );
        }
    }
    refused(
        |value| value["options"]["waitForIdentity"] = json!("sometimes"),
        "unknown variant `sometimes`",
    );
}

#[test]
fn unknown_missing_and_wrong_fields_are_named() {
    refused(|value| value["colour"] = json!("red"), "unknown field `colour`");
    refused(|value| value["options"]["colour"] = json!("red"), "unknown field `colour`");
    for field in [
        "format",
        "generation",
        "contentHash",
        "trustDomain",
        "exports",
        "peers",
        "grantSets",
        "table",
    ] {
        let remove = |value: &mut Value| drop(value.as_object_mut().unwrap().remove(field));
        refused(remove, &format!("missing field `{field}`"));
        refused(|value| value[field] = json!([]), "invalid type: sequence");
    }
    refused(|value| value["exports"] = json!(-1), "invalid value: integer `-1`");
    refused(|value| value["exports"] = json!(1.5), "invalid type: floating point");
}

#[test]
fn anything_but_a_json_object_is_refused() {
    for json in ["", "null", "[]", "{", "{}", "\"\"", "\0", "{\"format\":1,\"format\":1}"] {
        assert!(
            matches!(read_configuration(json.as_bytes()), Err(ConfigurationError::Json(_))),
            "{json}"
        );
    }
    let whole = changed(|_| ());
    assert!(matches!(
        read_configuration(&whole[..whole.len() - 1]),
        Err(ConfigurationError::Json(_))
    ));
    assert!(matches!(
        read_configuration(&[&whole[..], b"{}"].concat()),
        Err(ConfigurationError::Json(_))
    ));
}

#[test]
fn a_long_wrong_value_is_shortened_in_the_error() {
    for field in ["exports", "trustDomain", "contentHash", "table"] {
        let json = changed(|value| value[field] = json!("x".repeat(100_000)));
        assert!(read_configuration(&json).unwrap_err().to_string().len() < 500, "{field}");
    }
}

#[test]
fn a_table_that_is_not_base64_is_refused() {
    for bad in ["*", "AAAAA", "AB==", "AA=A", "AAAA\n"] {
        refused(|value| value["table"] = json!(bad), "table is not base64");
    }
}

#[test]
fn a_bad_table_is_refused() {
    refused(|value| value["table"] = json!(""), "does not begin with the magic bytes");
    let mut damaged = table().as_bytes().to_vec();
    damaged[100] ^= 1;
    refused(|value| value["table"] = json!(BASE64_STANDARD.encode(&damaged)), "checksum is wrong");
}

#[test]
fn the_size_limit_leaves_room_for_the_largest_table() {
    assert!(MAX_TABLE_BYTES.div_ceil(3) * 4 + 1_000 < MAX_CONFIGURATION_BYTES);
    let spaces = |count: usize| [changed(|_| ()), vec![b' '; count]].concat();
    let most = MAX_CONFIGURATION_BYTES - spaces(0).len();
    assert!(read_configuration(&spaces(most)).is_ok());
    assert!(matches!(read_configuration(&spaces(most + 1)), Err(ConfigurationError::TooLarge(_))));
}
