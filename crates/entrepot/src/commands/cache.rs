//! `entrepot cache` and `entrepot purge`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::api::{Api, ApiError, query};
use super::fields::tame;
use super::limits::PAGE_ENTRIES;
use super::table::table;
use super::{CommandError, Outcome, Question, Screen, amounts, asked, now, tell};
use crate::cli::{ApiArguments, EvictArguments, OneReference};
use crate::config::Configuration;

/// Characters of a digest that are shown in a table: the algorithm and twelve digits, which other tools show too.
const DIGEST_SHOWN: usize = 19;

/// A page of the cache.
#[derive(Debug, Deserialize)]
struct EntryPage {
    entries: Vec<Value>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    repository: String,
    digest: String,
    #[serde(default)]
    tags: Vec<String>,
    bytes: u64,
    used_at: i64,
    is_pinned: bool,
}

#[derive(Debug, Deserialize)]
struct Stats {
    bytes: u64,
    blobs: u64,
    manifests: u64,
    unheld_blobs: u64,
    size_max: Option<u64>,
    fills: u64,
}

#[derive(Debug, Deserialize)]
struct PinList {
    pins: Vec<Pin>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Pin {
    repository: String,
    reference: String,
    pinned_at: i64,
}

#[derive(Debug, Deserialize)]
struct Eviction {
    entries: Vec<Evicted>,
    count: u64,
    freed: u64,
}

#[derive(Debug, Deserialize)]
struct Evicted {
    repository: String,
    digest: String,
    #[serde(default)]
    tags: Vec<String>,
    freed: u64,
    used_at: i64,
}

#[derive(Debug, Deserialize)]
struct Unpinned {
    was_pinned: bool,
}

/// `entrepot cache ls`: page by page, so that a large cache is listed while it is read.
pub(super) async fn ls(
    configuration: &Configuration,
    repository: Option<&str>,
    arguments: &ApiArguments,
    screen: &mut Screen<'_>,
) -> Result<Outcome, CommandError> {
    let api = Api::open(configuration, arguments.server.as_ref()).await?;
    let outcome = pages(&api, repository, arguments, screen).await;
    api.close().await;
    outcome
}

async fn pages(
    api: &Api,
    repository: Option<&str>,
    arguments: &ApiArguments,
    screen: &mut Screen<'_>,
) -> Result<Outcome, CommandError> {
    let page_size = PAGE_ENTRIES.to_string();
    let mut parameters = vec![("n", page_size.as_str())];
    parameters.extend(repository.map(|repository| ("repository", repository)));
    let mut path = format!("cache/entries?{}", query(&parameters));
    let mut is_first = true;
    loop {
        let answer = api.get(&path).await?;
        let EntryPage { entries } = answer.read()?;
        if arguments.json {
            for entry in &entries {
                writeln!(screen.out, "{entry}")?;
            }
        } else {
            let entries: Vec<Entry> = serde_json::from_value(Value::Array(entries)).map_err(ApiError::Unreadable)?;
            let text = entry_table(&entries, now());
            // One heading is enough, however many pages there are.
            let text = if is_first { text.as_str() } else { text.split_once('\n').map_or("", |(_, rows)| rows) };
            screen.out.write_all(text.as_bytes())?;
        }
        is_first = false;
        match answer.next {
            Some(next) if next == path => return Err(ApiError::Circle.into()),
            Some(next) => path = next,
            None => return Ok(Outcome::Well),
        }
    }
}

fn entry_table(entries: &[Entry], now: i64) -> String {
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| {
            let pin = if entry.is_pinned { "pinned" } else { "" };
            let size = amounts::size(entry.bytes);
            [
                tame(&entry.repository),
                tame(&entry.tags.join(", ")),
                short(&entry.digest),
                size,
                amounts::age(now, entry.used_at),
                pin.to_owned(),
            ]
        })
        .collect();
    table(["REPOSITORY", "TAGS", "DIGEST", "SIZE", "USED", ""], &rows)
}

/// `entrepot cache stats`
pub(super) async fn stats(
    configuration: &Configuration,
    arguments: &ApiArguments,
    screen: &mut Screen<'_>,
) -> Result<Outcome, CommandError> {
    let answer = asked(configuration, arguments, Question::Get("cache/stats")).await?;
    tell(screen, arguments, &answer, |stats: Stats| stats_text(&stats))
}

fn stats_text(stats: &Stats) -> String {
    let limit = match stats.size_max {
        Some(limit) => {
            let percent = u128::from(stats.bytes) * 100 / u128::from(limit.max(1));
            format!("of {}, {percent} %", amounts::size(limit))
        }
        None => "without a limit".to_owned(),
    };
    format!(
        "size          {} {limit}\nmanifests     {}\nblobs         {}\nabout to go   {} blobs\nfills         {} running\n",
        amounts::size(stats.bytes),
        stats.manifests,
        stats.blobs,
        stats.unheld_blobs,
        stats.fills
    )
}

/// `entrepot cache pin`
pub(super) async fn pin(
    configuration: &Configuration,
    one: &OneReference,
    screen: &mut Screen<'_>,
) -> Result<Outcome, CommandError> {
    let body = json!({ "reference": one.reference });
    let answer = asked(configuration, &one.api, Question::Post("cache/pin", &body)).await?;
    if one.api.json {
        return tell(screen, &one.api, &answer, |_: Value| String::new());
    }
    writeln!(screen.out, "pinned {}", one.reference)?;
    Ok(Outcome::Well)
}

/// `entrepot cache unpin`
pub(super) async fn unpin(
    configuration: &Configuration,
    one: &OneReference,
    screen: &mut Screen<'_>,
) -> Result<Outcome, CommandError> {
    let body = json!({ "reference": one.reference });
    let answer = asked(configuration, &one.api, Question::Post("cache/unpin", &body)).await?;
    if one.api.json {
        return tell(screen, &one.api, &answer, |_: Value| String::new());
    }
    let was_pinned = answer.is_empty() || answer.read::<Unpinned>()?.was_pinned;
    let what = if was_pinned { "is not pinned any more" } else { "was not pinned" };
    writeln!(screen.out, "{} {what}", one.reference)?;
    Ok(Outcome::Well)
}

/// `entrepot cache pins`
pub(super) async fn pins(
    configuration: &Configuration,
    arguments: &ApiArguments,
    screen: &mut Screen<'_>,
) -> Result<Outcome, CommandError> {
    let answer = asked(configuration, arguments, Question::Get("cache/pins")).await?;
    let PinList { pins } = answer.read()?;
    if arguments.json {
        for pin in &pins {
            writeln!(screen.out, "{}", json!(pin))?;
        }
        return Ok(Outcome::Well);
    }
    let now = now();
    let rows: Vec<_> =
        pins.iter().map(|pin| [tame(&pinned_reference(pin)), amounts::age(now, pin.pinned_at)]).collect();
    screen.out.write_all(table(["REFERENCE", "PINNED"], &rows).as_bytes())?;
    Ok(Outcome::Well)
}

/// As it is written in other commands: a digest has a colon in it, a tag has none.
fn pinned_reference(pin: &Pin) -> String {
    let separator = if pin.reference.contains(':') { '@' } else { ':' };
    format!("{}{separator}{}", pin.repository, pin.reference)
}

/// `entrepot cache evict`
pub(super) async fn evict(
    configuration: &Configuration,
    arguments: &EvictArguments,
    screen: &mut Screen<'_>,
) -> Result<Outcome, CommandError> {
    let mut body = Map::from_iter([("dry_run".to_owned(), Value::from(arguments.dry_run))]);
    body.extend(arguments.down_to.map(|bytes| ("down_to".to_owned(), Value::from(bytes))));
    body.extend(arguments.unused_for.map(|seconds| ("unused_for".to_owned(), Value::from(seconds))));
    let body = Value::Object(body);
    let answer = asked(configuration, &arguments.api, Question::Post("cache/evict", &body)).await?;
    let freed = if arguments.dry_run { "would be freed" } else { "freed" };
    tell(screen, &arguments.api, &answer, |eviction: Eviction| eviction_text(&eviction, freed, now()))
}

/// `entrepot purge`
pub(super) async fn purge(
    configuration: &Configuration,
    one: &OneReference,
    screen: &mut Screen<'_>,
) -> Result<Outcome, CommandError> {
    let body = json!({ "reference": one.reference });
    let answer = asked(configuration, &one.api, Question::Post("cache/purge", &body)).await?;
    tell(screen, &one.api, &answer, |eviction: Eviction| eviction_text(&eviction, "freed", now()))
}

fn eviction_text(eviction: &Eviction, freed: &str, now: i64) -> String {
    let rows: Vec<_> = eviction
        .entries
        .iter()
        .map(|entry| {
            [
                tame(&entry.repository),
                tame(&entry.tags.join(", ")),
                short(&entry.digest),
                amounts::size(entry.freed),
                amounts::age(now, entry.used_at),
            ]
        })
        .collect();
    let list =
        if rows.is_empty() { String::new() } else { table(["REPOSITORY", "TAGS", "DIGEST", "FREED", "USED"], &rows) };
    let left_out = eviction.count.saturating_sub(rows.len() as u64);
    let more = if left_out == 0 { String::new() } else { format!("and {left_out} more\n") };
    let entries = if eviction.count == 1 { "entry" } else { "entries" };
    format!("{list}{more}{} {entries}, {} {freed}\n", eviction.count, amounts::size(eviction.freed))
}

fn short(digest: &str) -> String {
    tame(digest).chars().take(DIGEST_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_full_the_cache_is_is_told_with_and_without_a_limit() {
        let mut stats =
            Stats { bytes: 3 << 30, blobs: 12, manifests: 4, unheld_blobs: 1, size_max: Some(4 << 30), fills: 2 };
        let expected = "size          3.0 GiB of 4.0 GiB, 75 %\nmanifests     4\nblobs         12\n\
                        about to go   1 blobs\nfills         2 running\n";
        assert_eq!(stats_text(&stats), expected);
        stats.size_max = None;
        assert!(stats_text(&stats).starts_with("size          3.0 GiB without a limit\n"));
    }

    #[test]
    fn what_went_is_counted_also_where_it_is_not_listed() {
        let evicted = Evicted {
            repository: "proxy/ghcr.io/org/app".to_owned(),
            digest: format!("sha256:{}", "a".repeat(64)),
            tags: vec!["1".to_owned(), "2".to_owned()],
            freed: 1 << 20,
            used_at: 0,
        };
        let eviction = Eviction { entries: vec![evicted], count: 3, freed: 5 << 20 };
        let expected = "REPOSITORY             TAGS  DIGEST               FREED    USED\n\
                        proxy/ghcr.io/org/app  1, 2  sha256:aaaaaaaaaaaa  1.0 MiB  2d\n\
                        and 2 more\n3 entries, 5.0 MiB would be freed\n";
        assert_eq!(eviction_text(&eviction, "would be freed", 2 * 86_400), expected);
        let nothing = Eviction { entries: Vec::new(), count: 0, freed: 0 };
        assert_eq!(eviction_text(&nothing, "freed", 0), "0 entries, 0 B freed\n");
    }
}
