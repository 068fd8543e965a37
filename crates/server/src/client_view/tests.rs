//! What is believed of whom.

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http_body_util::BodyExt;

use super::*;
use crate::front::front;
use crate::metrics::Metrics;
use crate::request_id::RequestIds;

fn head(peer: &str, is_encrypted: bool, headers: &[(&str, &str)]) -> Parts {
    let mut request = http::Request::builder().uri("/v2/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut head = request.body(()).expect("a request").into_parts().0;
    head.extensions.insert(Peer {
        address: SocketAddr::new(peer.parse().expect("an address"), 1234),
        over_limit: false,
        ambiguous_length: false,
        is_encrypted,
        certificate: Some("alice".into()),
    });
    head
}

fn behind(trusted: &[&str]) -> ViewSettings {
    let trusted_proxies = trusted.iter().map(|text| text.parse().expect("a network")).collect();
    ViewSettings { public_url: None, trusted_proxies }
}

#[test]
fn a14_the_client_is_whom_the_last_trusted_proxy_names() {
    let rows: [(&[&str], &str, &[&str], &str); 16] = [
        // Nobody is trusted: the header is somebody's text.
        (&[], "10.0.0.1", &["1.2.3.4"], "10.0.0.1"),
        (&["10.0.0.2"], "10.0.0.1", &["1.2.3.4"], "10.0.0.1"),
        (&["10.0.0.1"], "10.0.0.1", &[], "10.0.0.1"),
        (&["10.0.0.1"], "10.0.0.1", &["1.2.3.4"], "1.2.3.4"),
        (&["10.0.0.1"], "::ffff:10.0.0.1", &["::ffff:1.2.3.4"], "1.2.3.4"),
        // What the client itself has written stands on the left.
        (&["10.0.0.1"], "10.0.0.1", &["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
        (&["10.0.0.1"], "10.0.0.1", &["6.6.6.6", "1.2.3.4"], "1.2.3.4"),
        (&["10.0.0.0/8"], "10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.2"], "1.2.3.4"),
        (&["10.0.0.0/8"], "10.0.0.1", &["6.6.6.6, 1.2.3.4", "10.0.0.2,10.0.0.3"], "1.2.3.4"),
        (&["10.0.0.0/8"], "10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        (&["10.0.0.0/8"], "10.0.0.1", &["1.2.3.4:5678"], "1.2.3.4"),
        (&["10.0.0.0/8"], "10.0.0.1", &["[fd00::1]:443"], "fd00::1"),
        (&["10.0.0.0/8"], "10.0.0.1", &["[fd00::1]"], "fd00::1"),
        (&["10.0.0.0/8"], "10.0.0.1", &["1.2.3.4, unknown, 10.0.0.2"], "10.0.0.2"),
        (&["10.0.0.0/8"], "10.0.0.1", &["1.2.3.4,"], "10.0.0.1"),
        (&["0.0.0.0/0"], "10.0.0.1", &["fd00::1, fd00::2"], "fd00::2"),
    ];
    for (trusted, peer, forwarded, expected) in rows {
        let headers: Vec<_> = forwarded.iter().map(|line| ("x-forwarded-for", *line)).collect();
        let view = behind(trusted).view(&head(peer, false, &headers));
        let expected: IpAddr = expected.parse().expect("an address");
        assert_eq!(view.address, Some(expected), "{peer} with {forwarded:?}, trusting {trusted:?}");
    }
}

#[test]
fn a14_scheme_and_host_are_those_of_the_request_or_of_a_trusted_proxy() {
    type Row = (&'static str, bool, &'static [(&'static str, &'static str)], &'static str);
    let rows: [Row; 14] = [
        ("1.1.1.1", false, &[("host", "a")], "http://a"),
        ("1.1.1.1", true, &[("host", "a:5000")], "https://a:5000"),
        ("1.1.1.1", true, &[("host", "[::1]:5000")], "https://[::1]:5000"),
        ("1.1.1.1", false, &[], "http://localhost"),
        ("1.1.1.1", false, &[("host", "user@a/b")], "http://localhost"),
        ("1.1.1.1", false, &[("host", "a"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "evil")], "http://a"),
        ("10.0.0.1", false, &[("host", "a"), ("x-forwarded-proto", "https")], "https://a"),
        ("10.0.0.1", true, &[("host", "a"), ("x-forwarded-proto", "HTTP")], "http://a"),
        (
            "10.0.0.1",
            false,
            &[("host", "a"), ("x-forwarded-host", "registry.example:8443")],
            "http://registry.example:8443",
        ),
        (
            "10.0.0.1",
            false,
            &[("host", "a"), ("x-forwarded-host", "evil, registry.example")],
            "http://registry.example",
        ),
        ("10.0.0.1", false, &[("host", "a"), ("x-forwarded-proto", "gopher")], "http://a"),
        ("10.0.0.1", false, &[("host", "a"), ("x-forwarded-proto", "")], "http://a"),
        ("10.0.0.1", false, &[("host", "a"), ("x-forwarded-host", "b/c")], "http://a"),
        ("10.0.0.1", false, &[("host", "a"), ("x-forwarded-host", "user@b")], "http://a"),
    ];
    let settings = behind(&["10.0.0.0/8"]);
    for (peer, is_encrypted, headers, expected) in rows {
        assert_eq!(settings.view(&head(peer, is_encrypted, headers)).base_url, expected, "{peer} with {headers:?}");
    }
}

#[test]
fn the_public_url_wins_over_everything() {
    let settings = ViewSettings { public_url: Some("https://registry.example/".into()), ..behind(&["10.0.0.1"]) };
    let headers = [("host", "a"), ("x-forwarded-host", "b"), ("x-forwarded-proto", "http")];
    assert_eq!(settings.view(&head("10.0.0.1", false, &headers)).base_url, "https://registry.example");
}

#[test]
fn a14_headers_that_name_a_user_are_not_read() {
    let plain = head("10.0.0.1", false, &[("host", "a")]);
    let named = [("host", "a"), ("x-remote-user", "root"), ("x-forwarded-user", "root"), ("x-ssl-client-cn", "root")];
    let settings = behind(&["0.0.0.0/0"]);
    assert_eq!(settings.view(&head("10.0.0.1", false, &named)), settings.view(&plain));
    assert_eq!(settings.view(&plain).certificate.as_deref(), Some("alice"), "which the handshake has proved");
}

#[tokio::test]
async fn the_view_of_the_operators_socket_is_kept_and_any_other_is_made_anew() {
    let told = async |request: Request| {
        let view = request.extensions().get::<ClientView>().expect("a view");
        format!("{} {:?} {}", view.base_url, view.address, view.is_operator)
    };
    let settings = ViewSettings { public_url: Some("https://registry.example".into()), ..ViewSettings::default() };
    let (ids, metrics) = (Arc::new(RequestIds::new(1)), Metrics::new("0").requests());
    let router = front(Router::new().route("/v2/", get(told)).into(), ids, metrics, Arc::new(settings));
    for (is_operator, expected) in [(true, "forged None true"), (false, "https://registry.example Some(1.2.3.4) false")]
    {
        let mut head = head("1.2.3.4", false, &[("host", "a")]);
        head.extensions.insert(ClientView { base_url: "forged".into(), is_operator, ..ClientView::default() });
        let request = http::Request::from_parts(head, Body::empty());
        let body = router.answer(request).await.into_body();
        assert_eq!(body.collect().await.expect("a body").to_bytes(), expected);
    }
}
