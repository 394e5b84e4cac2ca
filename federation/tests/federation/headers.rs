use fedgate_federation::header::{MAX_ENTITY_TAG, bearer, date, entity_tag, holds_tag};
use jiff::Timestamp;

#[test]
fn a_bearer_token_is_read_in_any_case_of_the_scheme() {
    for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER   a.b.c "] {
        assert_eq!(bearer(value.as_bytes()), Some("a.b.c"), "{value}");
    }
    for value in [&b""[..], b"a.b.c", b"Basic a.b.c", b"Bearera.b.c", b"Bearer", b"Bearer \x80"] {
        assert_eq!(bearer(value), None, "{value:?}");
    }
    assert_eq!(bearer(b"Bearer "), Some(""), "no token can be empty");
}

#[test]
fn an_entity_tag_is_found_in_a_list_and_as_a_weak_one() {
    let tag = b"\"44136fa3\"";
    for held in ["\"44136fa3\"", "W/\"44136fa3\"", "\"x\", \"44136fa3\" ,\"y\"", "*"] {
        assert!(holds_tag(held.as_bytes(), tag), "{held}");
    }
    for other in ["", "\"\"", "44136fa3", "\"44136fa3", "\"44136fa3\" x", ","] {
        assert!(!holds_tag(other.as_bytes(), tag), "{other}");
    }
}

#[test]
fn an_entity_tag_is_kept_if_it_can_be_sent_back() {
    assert_eq!(entity_tag(b"W/\"1\""), Some("W/\"1\""));
    let long = "x".repeat(MAX_ENTITY_TAG);
    assert_eq!(entity_tag(long.as_bytes()), Some(&*long));
    assert_eq!(entity_tag(format!("{long}x").as_bytes()), None);
    for bad in [&b"\"\x80\""[..], b"\"a\nb\"", b"\"\x7f\""] {
        assert_eq!(entity_tag(bad), None, "{bad:?}");
    }
}

#[test]
fn a_date_is_read_as_http_servers_write_it() {
    let expected = Timestamp::from_second(1_767_225_600).unwrap();
    assert_eq!(date(b"Thu, 01 Jan 2026 00:00:00 GMT"), Some(expected));
    for bad in
        [&b""[..], b"now", b"2026-01-01T00:00:00Z", b"Thu, 32 Jan 2026 00:00:00 GMT", b"\xff"]
    {
        assert_eq!(date(bad), None, "{bad:?}");
    }
}
