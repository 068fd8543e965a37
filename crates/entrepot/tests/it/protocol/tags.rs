//! Lists of tags and of repositories.

use std::fmt::Write as _;

use super::exchange::Answer;
use super::trial::{Trial, texts};

rules! {
    "T1" "the tags of a repository are a list, also when there are none" => tags_are_a_list;
    "T2" "tags are in the order of their bytes" => tags_are_in_order;
    "T3" "n gives exactly n unless fewer remain" => n_is_exact;
    "T4" "n=0 gives nothing and leads nowhere" => nothing_is_no_page;
    "T5" "last is exclusive, need not exist, and works without n" => last_is_exclusive;
    "T6" "a link leads to the next page for as long as there is one" => links_lead_through_all;
    "T7" "a link is relative to the root and escaped" => links_are_exact;
    "T8" "n must be a number, and one that is too large is cut, with a link" => n_is_a_number;
    "T9" "an unknown repository has no list" => unknown_repositories;
    "T10" "the catalog lists the hosted repositories, in order and in pages" => the_catalog_has_pages;
}

/// Sets tags on one manifest, 64 at a time.
async fn tag(trial: &Trial, tags: &[String]) {
    let image = trial.image(0);
    for blob in image.blobs() {
        trial.push_blob(blob).await;
    }
    for tags in tags.chunks(64) {
        let query = tags.iter().fold(String::new(), |mut query, tag| {
            let _ = write!(query, "&tag={tag}");
            query
        });
        trial.push_manifest(format!("{}?{query}", image.manifest.digest), &image.manifest).await;
    }
}

async fn tagged(trial: &Trial, tags: &[&str]) {
    tag(trial, &tags.iter().map(ToString::to_string).collect::<Vec<_>>()).await;
}

fn tags_of(answer: &Answer) -> Vec<String> {
    texts(&answer.expect(200).json()["tags"])
}

async fn tags_are_a_list(trial: Trial) {
    trial.start().await;
    let answer = trial.get("tags/list").await;
    answer.expect(200).has("content-type", "application/json").is(format!(r#"{{"name":"{}","tags":[]}}"#, trial.name));
    tagged(&trial, &["1"]).await;
    let answer = trial.get("tags/list").await;
    answer.expect(200).is(format!(r#"{{"name":"{}","tags":["1"]}}"#, trial.name)).lacks("link");
}

async fn tags_are_in_order(trial: Trial) {
    tagged(&trial, &["b", "B", "a", "A", "_", "1", "10", "2", "a-", "a.", "aa"]).await;
    assert_eq!(trial.tags().await, ["1", "10", "2", "A", "B", "_", "a", "a-", "a.", "aa", "b"]);
}

async fn n_is_exact(trial: Trial) {
    tagged(&trial, &["a", "b", "c", "d", "e"]).await;
    for n in 1..8 {
        let answer = trial.get(&format!("tags/list?n={n}")).await;
        let tags = tags_of(&answer);
        assert_eq!(tags, ["a", "b", "c", "d", "e"][..n.min(5)]);
        assert_eq!(answer.try_header("link").is_some(), n < 5, "{}", answer.evidence());
    }
}

async fn nothing_is_no_page(trial: Trial) {
    tagged(&trial, &["a", "b"]).await;
    for query in ["n=0", "n=0&last=a", "n=000"] {
        let answer = trial.get(&format!("tags/list?{query}")).await;
        assert_eq!(tags_of(&answer), Vec::<String>::new());
        answer.lacks("link");
    }
}

async fn last_is_exclusive(trial: Trial) {
    tagged(&trial, &["a", "c", "e"]).await;
    let rows: [(&str, &[&str]); 8] = [
        ("last=a", &["c", "e"]),
        ("last=b", &["c", "e"]),
        ("last=A", &["a", "c", "e"]),
        ("last=e", &[]),
        ("last=zzz", &[]),
        ("last=", &["a", "c", "e"]),
        ("last=b&n=1", &["c"]),
        ("n=2&last=c", &["e"]),
    ];
    for (query, expected) in rows {
        assert_eq!(tags_of(&trial.get(&format!("tags/list?{query}")).await), expected, "{query}");
    }
}

/// Every page from `path` on, by the links alone.
async fn pages(trial: &Trial, path: &str, key: &str) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut path = Some(path.to_owned());
    while let Some(here) = path {
        let answer = trial.get(&here).await;
        pages.push(texts(&answer.expect(200).json()[key]));
        path = answer.next_page();
    }
    pages
}

async fn links_lead_through_all(trial: Trial) {
    let tags: Vec<String> = (0..50).map(|number| format!("tag-{number:02}")).collect();
    tag(&trial, &tags).await;
    for size in [1, 7, 10, 49, 50, 51] {
        let pages = pages(&trial, &format!("tags/list?n={size}"), "tags").await;
        assert!(pages.iter().rev().skip(1).all(|page| page.len() == size), "only the last page is short");
        assert!(pages.iter().all(|page| !page.is_empty()), "no link leads to nothing");
        assert_eq!(pages.concat(), tags);
    }
}

async fn links_are_exact(trial: Trial) {
    tagged(&trial, &["a_1.x-y", "b"]).await;
    let answer = trial.get("tags/list?n=1").await;
    answer.expect(200).has("link", format!("</v2/{}/tags/list?n=1&last=a_1.x-y>; rel=\"next\"", trial.name));
    let answer = trial.get("/v2/_catalog?n=1").await;
    let target = answer.next_page().unwrap();
    answer.must(target.starts_with("/v2/_catalog?n=1&last=") && !target[22..].contains('/'), "names are escaped");
}

async fn n_is_a_number(trial: Trial) {
    trial.start().await;
    for n in ["-1", "abc", "", "1.5", "%201", "0x10", "1e3", "%2B1", "%D9%A1"] {
        for path in ["tags/list", "/v2/_catalog"] {
            trial.get(&format!("{path}?n={n}")).await.refused(400, "PAGINATION_NUMBER_INVALID");
        }
    }
    let tags: Vec<String> = (0..10_010).map(|number| format!("{number:05}")).collect();
    tag(&trial, &tags).await;
    for query in ["", "?n=10001", "?n=99999999999999999999999999"] {
        let answer = trial.get(&format!("tags/list{query}")).await;
        assert_eq!(tags_of(&answer), tags[..10_000]);
        let rest = trial.get(&answer.next_page().unwrap()).await;
        assert_eq!(tags_of(&rest), tags[10_000..]);
        rest.lacks("link");
    }
}

async fn unknown_repositories(trial: Trial) {
    for query in ["", "?n=1", "?last=a", "?n=0"] {
        trial.get(&format!("tags/list{query}")).await.refused(404, "NAME_UNKNOWN");
    }
}

async fn the_catalog_has_pages(trial: Trial) {
    let mut names = Vec::new();
    for component in ["a", "a/b", "a-b", "b", "c__d", "z.z"] {
        let place = trial.beside(component);
        place.start().await;
        names.push(place.name);
    }
    names.sort_unstable();
    // Others are in the list as well: these begin behind this rule's own name.
    let last = trial.name.replace('/', "%2F");
    for size in [1, 2, 4, 6] {
        let first = trial.get(&format!("/v2/_catalog?n={size}&last={last}")).await;
        assert_eq!(texts(&first.expect(200).json()["repositories"]), names[..size]);
        let listed = pages(&trial, &format!("/v2/_catalog?n={size}"), "repositories").await.concat();
        assert!(listed.is_sorted(), "{listed:?}");
        assert!(names.iter().all(|name| listed.contains(name)), "{listed:?}");
        assert!(listed.iter().all(|name| !name.starts_with("proxy/")), "what is cached is no repository of ours");
    }
    let everything = trial.get("/v2/_catalog").await;
    assert!(names.iter().all(|name| texts(&everything.expect(200).json()["repositories"]).contains(name)));
    trial.get("/v2/_catalog?n=0").await.expect(200).is(r#"{"repositories":[]}"#).lacks("link");
    trial.get("/v2/_catalog?last=BAD").await.refused(400, "NAME_INVALID");
}
