//! What the layer decides without a socket.

use super::*;

#[test]
fn a_host_is_a_name_or_an_address_with_an_optional_port() {
    for valid in ["a", "a.example", "a:1", "registry.example:5000", "127.0.0.1:5000", "[::1]", "[::1]:5000", "A_b-c"] {
        assert!(authority(valid).is_some(), "{valid:?}");
    }
    for invalid in ["", ":", ":5000", "a:", "a:x", "a:65536", "a:-1", "user@a", "a/b", "a b", "::1", "[::1", "a:1:2"] {
        assert!(authority(invalid).is_none(), "{invalid:?}");
    }
}

#[test]
fn the_registry_is_v2_and_what_is_below_it() {
    let rows = [
        ("/v2", true),
        ("/v2/", true),
        ("/v2/a/b", true),
        ("/proxy/docker.io/v2/", true),
        ("/v2x", false),
        ("/", false),
        ("/v1/v2/", false),
        ("/proxy/docker.io/", false),
    ];
    for (path, expected) in rows {
        assert_eq!(is_registry_path(path), expected, "{path}");
    }
}

#[test]
fn every_refusal_is_an_error_body_of_the_registry_api() {
    let refusals = [
        (Refusal::OverLimit, 503),
        (Refusal::TargetTooLong, 414),
        (Refusal::HeaderTooLong { name: header::COOKIE }, 431),
        (Refusal::HostMissing, 400),
        (Refusal::HostRepeated, 400),
        (Refusal::HostInvalid, 400),
        (Refusal::HostContradicted, 400),
        (Refusal::AmbiguousLength, 400),
        (Refusal::EncodedBody, 415),
        (Refusal::ForeignPage, 403),
    ];
    for (refusal, status) in refusals {
        let response = refused(&refusal, false, None);
        assert_eq!(response.status().as_u16(), status, "{refusal:?}");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        assert!(ErrorCode::ALL.contains(&refusal.code()));
    }
}
