//! The database or the object storage away for a while: every request is answered in time and told to come again, and afterwards all is well.

use std::time::Duration;

use entrepot_testkit::stores::CutProxy;
use entrepot_testkit::{Blob, Image};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use reqwest::{Client, Response};

use super::{get, header, push, push_blob, read};
use crate::shared::Shared;
use crate::support::{Running, Setup, client};

/// How long an answer may take: a push asks the object storage twice, and that has 10 seconds to answer here.
const PATIENCE: Duration = Duration::from_secs(40);

/// How long it may take until everything works again: pauses between attempts to connect have grown meanwhile.
const RECOVERY: Duration = Duration::from_secs(20);

/// A registry whose ways to both can be cut.
struct Shore {
    running: Running,
    bucket: CutProxy,
    database: CutProxy,
    image: Image,
}

/// How something goes away.
#[derive(Clone, Copy, Debug)]
enum Outage {
    /// Nobody listens any more.
    Refused,
    /// Connections stay, and nothing comes.
    Hung,
}

impl Outage {
    async fn begin(self, proxy: &CutProxy) {
        match self {
            Self::Refused => proxy.refuse().await,
            Self::Hung => proxy.hang(),
        }
    }
}

impl Shore {
    async fn new(seed: u64) -> Self {
        let [bucket, database] = Shared::addresses();
        let (bucket, database) = (CutProxy::start(bucket).await, CutProxy::start(database).await);
        let shared = Shared::new().at([bucket.port(), database.port()]).impatient();
        let running = Running::replica(Setup::default(), shared).await;
        let image = Image::new(seed, &[6_000_000, 1000]);
        push(&running, "team/app", "1", &image).await;
        Self { running, bucket, database, image }
    }

    /// Everything that a client may want, with a word for it; the first two need no object storage.
    fn requests(&self, new: &Blob) -> Vec<(&'static str, BoxFuture<'static, reqwest::Result<Response>>)> {
        let client: Client = client();
        let url = |path: &str| self.running.url(&format!("/v2/team/app/{path}"));
        let media_type = self.image.manifest.media_type.as_str();
        let manifest = client.put(url("manifests/2")).header("content-type", media_type);
        let requests = [
            ("manifest", client.get(url("manifests/1"))),
            ("tags", client.get(url("tags/list"))),
            ("blob", client.get(url(&format!("blobs/{}", self.image.layers[0].digest)))),
            ("part", client.get(url(&format!("blobs/{}", self.image.layers[0].digest))).header("range", "bytes=9-99")),
            ("head", client.head(url(&format!("blobs/{}", self.image.layers[1].digest)))),
            ("push", client.post(url(&format!("blobs/uploads/?digest={}", new.digest))).body(new.bytes.clone())),
            ("manifest push", manifest.body(self.image.manifest.bytes.clone())),
        ];
        requests.into_iter().map(|(name, request)| (name, request.send().boxed())).collect()
    }

    /// The statuses of all of them, asked at once; a 503 has to say when to come again.
    async fn statuses(&self, seed: u64) -> Vec<(&'static str, u16)> {
        let new = Blob::random(seed, 7_000_000);
        let asked = self.requests(&new).into_iter().map(async |(name, request)| {
            let answer = tokio::time::timeout(PATIENCE, request).await;
            let answer = answer.unwrap_or_else(|_| panic!("{name}: no answer in time")).unwrap();
            let status = answer.status().as_u16();
            if status == 503 {
                assert!(header(&answer, "retry-after").parse::<u32>().unwrap() > 0, "{name}: {answer:?}");
                let text = if name == "head" { String::new() } else { answer.text().await.unwrap() };
                assert!(name == "head" || text.contains("\"errors\""), "{name}: {text}");
                assert!(!text.contains("127.0.0.1"), "who asks learns no address: {text}");
            }
            (name, status)
        });
        join_all(asked).await
    }

    async fn is_ready(&self) -> bool {
        let answer = get(&self.running, "/readyz").await;
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert!([200, 503].contains(&status) && text.contains("\"ready\":false") == (status == 503), "{text}");
        status == 200
    }

    async fn expect_well(&self, seed: u64) {
        let recovering = async {
            while !self.is_ready().await {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(RECOVERY, recovering).await.expect("ready again");
        let statuses: Vec<u16> = self.statuses(seed).await.into_iter().map(|(_, status)| status).collect();
        assert_eq!(statuses, [200, 200, 200, 206, 200, 201, 201]);
        let new = Blob::random(seed, 7_000_000);
        for blob in [&self.image.layers[0], &new] {
            assert!(read(&self.running, &format!("/v2/team/app/blobs/{}", blob.digest)).await == blob.bytes);
        }
        assert_eq!(get(&self.running, "/healthz").await.status().as_u16(), 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_is_away_everybody_is_told_to_come_again_and_afterwards_all_is_well() {
    let shore = Shore::new(1).await;
    for (seed, outage) in [(10, Outage::Refused), (20, Outage::Hung)] {
        outage.begin(&shore.database).await;
        for (name, status) in shore.statuses(seed).await {
            assert_eq!(status, 503, "{outage:?} {name}");
        }
        assert!(!shore.is_ready().await, "{outage:?}");
        // Whoever restarts what is not alive would not bring the database back.
        assert_eq!(get(&shore.running, "/healthz").await.status().as_u16(), 200);
        shore.database.heal().await;
        shore.expect_well(seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_object_storage_is_away_what_needs_it_is_told_to_come_again_and_afterwards_all_is_well() {
    let shore = Shore::new(2).await;
    for (seed, outage) in [(30, Outage::Refused), (40, Outage::Hung)] {
        outage.begin(&shore.bucket).await;
        for (name, status) in shore.statuses(seed).await {
            match name {
                "manifest" | "tags" => assert_eq!(status, 200, "{outage:?} {name}: that is in the database"),
                "manifest push" => assert!([201, 503].contains(&status), "{outage:?} {name} {status}"),
                _ => assert_eq!(status, 503, "{outage:?} {name}"),
            }
        }
        assert!(!shore.is_ready().await, "{outage:?}");
        shore.bucket.heal().await;
        shore.expect_well(seed).await;
    }
    // What was acknowledged before is still there for a replica that starts now, and a blob that never was is not.
    let never = Blob::random(50, 10);
    let absent = get(&shore.running, &format!("/v2/team/app/blobs/{}", never.digest)).await;
    assert_eq!(absent.status().as_u16(), 404);
    assert_eq!(push_blob(&shore.running, "team/app", &never).await.status().as_u16(), 201);
}
