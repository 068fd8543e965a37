//! Whatever an upstream does, what is cached is answered, and at once.

use std::sync::Mutex;

use entrepot_testkit::{Auth, Gate, Reply};
use tokio::time::Instant;

use super::*;

/// A fault of an upstream, by name.
type Fault = (&'static str, fn(Reply) -> Reply);

/// Faults in answers, each of which must be one to a HEAD, to a GET of a manifest, and to a page of tags.
const FAULTS: &[Fault] = &[
    ("401 without a challenge", |_| Reply::new(401)),
    ("401 with a challenge that cannot be met", |_| Reply::new(401).header("www-authenticate", "Negotiate")),
    ("403", |_| Reply::error(403, "DENIED", "no")),
    ("408", |_| Reply::new(408)),
    ("410", |_| Reply::new(410)),
    ("429 with seconds", |_| Reply::too_many_requests("7")),
    ("429 with a date", |_| Reply::too_many_requests("Wed, 21 Oct 2099 07:28:00 GMT")),
    ("429 with a fraction", |_| Reply::too_many_requests("985.86µs")),
    ("429 without a time", |_| Reply::too_many_requests("")),
    ("451", |_| Reply::new(451)),
    ("500", |_| Reply::new(500)),
    ("502", |_| Reply::new(502)),
    ("503", |_| Reply::new(503).header("retry-after", "9")),
    ("504", |_| Reply::new(504)),
    ("a web page", |_| Reply::page()),
    ("wrong bytes, and no digest", |honest| honest.wrong_bytes().without_digest()),
    ("a broken connection, and no digest", |honest| honest.cut_after(5).without_digest()),
    ("an encoding nobody asked for", |honest| honest.header("content-encoding", "gzip").without_digest()),
    ("too long, and no digest", |honest| honest.with_body(vec![b'x'; 9 * 1024 * 1024]).without_digest()),
    ("a redirect to itself", |_| Reply::redirect(307, "/v2/elsewhere")),
    ("a redirect to where it must not lead", |_| Reply::redirect(307, "http://169.254.169.254/latest")),
    ("a redirect to nowhere", |_| Reply::new(307)),
];

impl Port {
    /// With a tag and a list in the cache, both of which are due.
    async fn due() -> (Self, Image) {
        let (port, image) = Self::with_image().await;
        port.become_due().await;
        (port, image)
    }

    async fn become_due(&self) {
        self.pulled().await;
        self.tags().await.unwrap();
        self.clock.advance(MINUTE);
    }

    /// Everything cached is answered at once and marked as stale; twice, since the second client must fare no worse.
    async fn answers_from_the_cache(&self, image: &Image, fault: &str) {
        let stale_before = self.metrics.cache_stale.get();
        for _ in 0..2 {
            let began = Instant::now();
            let pulled = self.pull("1").await.unwrap_or_else(|error| panic!("{fault}: {error}"));
            assert!(began.elapsed() < AT_ONCE, "{fault}: {:?}", began.elapsed());
            assert_eq!(
                (&pulled.manifest.digest, pulled.cache),
                (&image.manifest.digest, CacheStatus::Stale),
                "{fault}"
            );
            let warning = pulled.warning.unwrap();
            assert!(warning.starts_with(&format!("stale: {NAME} ")), "{fault}: {warning}");
            let began = Instant::now();
            let (tags, warning) = self.tags().await.unwrap_or_else(|error| panic!("{fault}: {error}"));
            assert!(began.elapsed() < AT_ONCE, "{fault}: {:?}", began.elapsed());
            assert_eq!(tags, ["1"], "{fault}");
            assert!(warning.is_some_and(|warning| warning.starts_with("stale: ")), "{fault}");
        }
        assert_eq!(self.metrics.cache_stale.get(), stale_before + 4, "{fault}");
        // What is not cached is no less an outage for it.
        assert!(self.pull("2").await.is_err(), "{fault}");
    }

    /// What failed is believed to go on for a while, and asked again then.
    async fn is_fresh_again(&self, image: &Image, fault: &str) {
        self.clock.advance(2 * MINUTE);
        // Longer than any upstream may ask to be left alone.
        tokio::time::pause();
        tokio::time::advance(24 * 60 * MINUTE).await;
        tokio::time::resume();
        assert_eq!(self.pulled().await, (image.manifest.digest.clone(), CacheStatus::Hit), "{fault}");
        assert_eq!(self.tags().await.unwrap(), (vec!["1".to_owned()], None), "{fault}");
    }
}

#[tokio::test]
async fn faulty_answers() {
    for (name, fault) in FAULTS {
        let (port, image) = Port::due().await;
        port.upstream.when(|_| true).reply(*fault);
        port.answers_from_the_cache(&image, name).await;
        port.upstream.heal();
        port.is_fresh_again(&image, name).await;
    }
}

#[tokio::test]
async fn a_manifest_that_is_not_what_its_head_promised() {
    let lies: &[Fault] = &[
        ("other bytes", Reply::wrong_bytes),
        ("one byte short", |honest| honest.short_by(1)),
        ("cut at the first byte", |honest| honest.cut_after(0)),
        ("longer", |honest| honest.followed_by(b" ")),
        ("not a manifest", |honest| honest.with_body("{}")),
        ("schema 1", |honest| {
            honest
                .with_body(r#"{"schemaVersion":1}"#)
                .header("content-type", entrepot_oci::MediaType::DOCKER_SCHEMA1_SIGNED)
        }),
    ];
    for (name, lie) in lies {
        let (port, image) = Port::due().await;
        Image::new(8, &[20]).load_into(&port.upstream, REPOSITORY, "1");
        port.upstream.when(|seen| seen.is_get() && seen.is_manifest()).reply(*lie);
        let pulled = port.pull("1").await.unwrap();
        assert_eq!((pulled.manifest.digest, pulled.cache), (image.manifest.digest, CacheStatus::Stale), "{name}");
    }
}

#[tokio::test]
async fn a_token_endpoint_that_fails() {
    let faults: &[Fault] = &[
        ("401", |_| Reply::new(401)),
        ("429", |_| Reply::too_many_requests("7")),
        ("500", |_| Reply::new(500)),
        ("no token", |_| Reply::content("application/json", "{}")),
    ];
    for (name, fault) in faults {
        let (port, image) = Port::due().await;
        port.upstream.set_auth(Auth::anonymous_bearer());
        port.upstream.when(Seen::is_token).reply(*fault);
        port.answers_from_the_cache(&image, name).await;
    }
}

#[tokio::test]
async fn a_refused_connection_before_and_after_a_restart() {
    let (mut port, image) = Port::due().await;
    port.upstream.stop().await;
    port.answers_from_the_cache(&image, "refused").await;
    let url = port.upstream.url();
    port.restart(&url);
    port.answers_from_the_cache(&image, "refused, after a restart").await;
    port.upstream.restart().await;
    port.is_fresh_again(&image, "refused").await;
}

#[tokio::test]
async fn a_silent_upstream() {
    let (port, image) = Port::due().await;
    let gate = Gate::new();
    let held = gate.clone();
    port.upstream.when(|seen| !seen.path.ends_with("/2")).reply(move |honest| honest.silent(&held));
    port.upstream.when(|_| true).reply(|_| Reply::new(500));
    port.answers_from_the_cache(&image, "silent").await;
    gate.open();
}

#[tokio::test]
async fn a_port_that_does_not_speak_tls() {
    let (mut port, image) = Port::due().await;
    // The origin of both is the same, and so is the cache.
    port.restart(&port.upstream.url().replace("http://", "https://"));
    port.answers_from_the_cache(&image, "TLS").await;
}

#[tokio::test]
async fn a_name_that_no_longer_has_an_address() {
    let upstream = FakeUpstream::start().await;
    let address = upstream.address();
    let addresses = Arc::new(Mutex::new(vec![address]));
    let lookup = {
        let addresses = Arc::clone(&addresses);
        Lookup::by(move |_| Some(addresses.lock().unwrap().clone()))
    };
    let remotes = remotes(&format!("http://registry.test:{}", address.port()), lookup);
    let port = Port::with(upstream, remotes, ProxySettings::default());
    let image = Image::new(7, &[10]);
    image.load_into(&port.upstream, REPOSITORY, "1");
    port.become_due().await;
    addresses.lock().unwrap().clear();
    // Connections that are open need no name.
    port.upstream.restart().await;
    port.answers_from_the_cache(&image, "DNS").await;
    addresses.lock().unwrap().push(address);
    port.is_fresh_again(&image, "DNS").await;
}
