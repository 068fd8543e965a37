//! The mirrors of upstreams, which may name each other: read when all names are known.

use std::collections::HashMap;

use entrepot_oci::RepositoryName;
use entrepot_upstream::{Mirror, UpstreamConfig};
use toml::Spanned;
use url::Url;

use super::check::repeat;
use super::error::ProblemKind;
use super::resolve::{Resolver, allowed};
use super::written::WrittenUpstream;

const PATH: &str = "proxy.upstream.mirrors";

/// Fills in the mirrors of every upstream.
pub(crate) fn resolve(
    resolver: &mut Resolver<'_>,
    written: &[Spanned<WrittenUpstream>],
    upstreams: &mut [UpstreamConfig],
) {
    let mut names = HashMap::new();
    for upstream in upstreams.iter() {
        for name in [&upstream.name].into_iter().chain(&upstream.aliases) {
            names.insert(name.clone(), upstream.name.clone());
        }
    }
    for written in written.iter().map(Spanned::get_ref).filter(|written| !written.mirrors.is_empty()) {
        let name = written.name.as_ref().map(Spanned::get_ref);
        // An upstream that is refused for something else is none, and then nothing is started.
        let Some(upstream) = upstreams.iter_mut().find(|upstream| Some(&upstream.name) == name) else { continue };
        let mirrors = written.mirrors.iter().filter_map(|mirror| match read(mirror.get_ref(), upstream, &names) {
            Ok(mirror) => Some(mirror),
            Err(kind) => {
                resolver.add(resolver.place(mirror.span().start), PATH, kind);
                None
            }
        });
        let mirrors = mirrors.collect();
        upstream.mirrors = mirrors;
    }
}

fn read(text: &str, upstream: &UpstreamConfig, names: &HashMap<String, String>) -> Result<Mirror, ProblemKind> {
    let itself = || ProblemKind::MirrorOfItself { name: text.to_owned() };
    if !text.contains("://") {
        let name = names.get(text);
        let unknown = || ProblemKind::UnknownMirror { name: text.to_owned(), allowed: allowed(PATH) };
        let name = name.ok_or_else(unknown)?;
        return if *name == upstream.name { Err(itself()) } else { Ok(Mirror::Listed(name.clone())) };
    }
    let url = Url::parse(text).ok().filter(is_place);
    let url = url.ok_or_else(|| {
        // Somebody may have written an account into it: that is not repeated.
        let found = if text.contains('@') { "a URL with a user in it".to_owned() } else { repeat(text) };
        ProblemKind::WrongValue { found, allowed: allowed(PATH) }
    })?;
    if url == upstream.url { Err(itself()) } else { Ok(Mirror::At(url)) }
}

/// A registry, with or without a path that can stand before the names of repositories.
fn is_place(url: &Url) -> bool {
    let path = url.path().trim_matches('/');
    matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
        && (path.is_empty() || path.parse::<RepositoryName>().is_ok())
}
