//! Lists that come in pages: the next page is asked of the same path of the same host, whatever its link says.

use std::collections::HashSet;
use std::ops::ControlFlow;

use bytes::Bytes;
use http::HeaderMap;
use http::header::LINK;

use crate::answer::Answer;
use crate::ask::Ask;
use crate::error::Error;
use crate::limits::{PAGE_BYTES_MAX, PAGES_MAX};
use crate::remote::Remote;

impl Remote {
    /// Hands each page, beginning with `first`, to `take`, until that breaks, a page has no link to a next one, or
    /// the link leads to a page that was seen.
    pub(crate) async fn each_page(
        &self,
        mut ask: Ask<'_>,
        first: Answer,
        mut take: impl FnMut(&Answer, Bytes) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        let mut answer = first;
        let mut seen: HashSet<Option<String>> = HashSet::from([ask.query.clone()]);
        for _ in 0..PAGES_MAX {
            let page = answer.document(PAGE_BYTES_MAX, self.timeouts()).await?;
            if take(&answer, page)?.is_break() {
                return Ok(());
            }
            let Some(query) = next_query(answer.response.headers()) else { return Ok(()) };
            ask.query = Some(query);
            if !seen.insert(ask.query.clone()) {
                return Ok(());
            }
            answer = self.ask(&ask).await?.success(self.timeouts()).await?;
        }
        Err(Error::TooLarge { history: Box::new(answer.history), limit: PAGES_MAX })
    }
}

/// The query of the link to the next page.
///
/// Only the query is taken: cursors differ (`last`, `next_page`, `orderby`) and are passed back as they are, while a
/// link to another host, or to a path that a proxy before the registry does not know, leads nowhere.
fn next_query(headers: &HeaderMap) -> Option<String> {
    let links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    links.flat_map(targets).find_map(|(target, parameters)| {
        let is_next = parameters.split(';').any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or_default();
            name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
        });
        let query = target.split_once('?').map(|(_, query)| query.split('#').next().unwrap_or_default());
        query.filter(|query| is_next && !query.is_empty()).map(str::to_owned)
    })
}

/// The targets in one `Link` header, each with its parameters.
fn targets(header: &str) -> impl Iterator<Item = (&str, &str)> {
    header
        .split('<')
        .skip(1)
        .filter_map(|link| link.split_once('>'))
        .map(|(target, parameters)| (target, parameters.trim_end().trim_end_matches(',')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_as_registries_write_them() {
        let rows = [
            (r#"</v2/a/tags/list?last=x&n=2>; rel="next""#, Some("last=x&n=2")),
            ("</v2/a/tags/list?last=x>; rel=next", Some("last=x")),
            (
                r#"<https://registry.example/v2/a/tags/list?next_page=gAAA%3D&n=1>; rel="next""#,
                Some("next_page=gAAA%3D&n=1"),
            ),
            (r#"<http://169.254.169.254/latest?last=x>; rel="next""#, Some("last=x")),
            (r#"</v2/_acr/a?last=x&n=1&orderby=>; rel="next""#, Some("last=x&n=1&orderby=")),
            (r#"</a?p=0>; rel="prev", </a?p=2>; title="x"; REL="next""#, Some("p=2")),
            (r#"</a?p=0>; rel="prev""#, None),
            ("</v2/a/tags/list>; rel=next", None),
            ("</v2/a?b", None),
            ("", None),
        ];
        for (link, expected) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(LINK, link.parse().unwrap());
            assert_eq!(next_query(&headers).as_deref(), expected, "{link}");
        }
    }
}
