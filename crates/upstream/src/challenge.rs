//! `WWW-Authenticate`: several headers, several challenges in one header, and what registries make of the grammar.
//! <https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1>

use std::iter::Peekable;
use std::str::Chars;

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use url::Url;

use crate::handshake::HandshakeStep;
use crate::history::{RedactedUrl, tame};

/// A challenge that can be met. Other schemes are read over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A token, to be had at `realm`.
    Bearer {
        /// The URL of the token endpoint, as it stands.
        realm: String,
        /// Left out by some (nvcr.io).
        service: Option<String>,
        /// Left out by some (quay.io).
        scope: Option<String>,
    },
    /// A user and a password.
    Basic,
}

impl Challenge {
    /// The challenge to meet: Bearer before Basic.
    pub(crate) fn preferred(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter();
        let mut challenges = values.flat_map(|value| parse(&String::from_utf8_lossy(value.as_bytes())));
        let first = challenges.next()?;
        if first != Self::Basic {
            return Some(first);
        }
        challenges.find(|challenge| *challenge != Self::Basic).or(Some(first))
    }

    /// What is told of it, as the challenge of an answer from `from`.
    pub(crate) fn step(&self, from: &Url) -> HandshakeStep {
        match self {
            Self::Basic => HandshakeStep::ChallengedBasic,
            Self::Bearer { realm, service, scope } => HandshakeStep::ChallengedBearer {
                realm: from.join(realm).ok().map(|realm| RedactedUrl::new(&realm)),
                service: service.as_deref().map(tame),
                scope: scope.as_deref().map(tame),
            },
        }
    }
}

/// One scheme with its parameters.
#[derive(Default)]
struct Raw {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Raw {
    fn take(&mut self, name: &str) -> Option<String> {
        let position = self.parameters.iter().position(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(self.parameters.swap_remove(position).1).filter(|value| !value.is_empty())
    }

    fn known(mut self) -> Option<Challenge> {
        if self.scheme.eq_ignore_ascii_case("basic") {
            return Some(Challenge::Basic);
        }
        if !self.scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let realm = self.take("realm")?;
        Some(Challenge::Bearer { realm, service: self.take("service"), scope: self.take("scope") })
    }
}

/// The known challenges of one header, in its order.
///
/// A word with `=` behind it is a parameter of the challenge before, every other word begins a challenge. So the
/// token of an unknown scheme (`Negotiate YII…`) counts as one more unknown scheme, which does no harm.
fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Raw> = Vec::new();
    let mut rest = header.chars().peekable();
    loop {
        skip(&mut rest, |character| character.is_whitespace() || character == ',');
        let word = take(&mut rest, |character| !character.is_whitespace() && !matches!(character, ',' | '=' | '"'));
        skip(&mut rest, char::is_whitespace);
        match (rest.peek(), word.is_empty()) {
            (None, true) => break,
            (Some('='), _) => {
                rest.next();
                skip(&mut rest, char::is_whitespace);
                let value = value(&mut rest);
                if let Some(challenge) = challenges.last_mut() {
                    challenge.parameters.push((word, value));
                }
            }
            // A quote where a word should be: read over it, or the loop would never end.
            (Some(_), true) => {
                value(&mut rest);
            }
            (_, false) => challenges.push(Raw { scheme: word, parameters: Vec::new() }),
        }
    }
    challenges.into_iter().filter_map(Raw::known).collect()
}

/// A value, quoted with escapes or bare. A quote that is never closed ends with the header.
fn value(rest: &mut Peekable<Chars<'_>>) -> String {
    if rest.next_if_eq(&'"').is_none() {
        return take(rest, |character| !character.is_whitespace() && character != ',');
    }
    let mut value = String::new();
    while let Some(character) = rest.next() {
        match character {
            '"' => break,
            '\\' => value.extend(rest.next()),
            _ => value.push(character),
        }
    }
    value
}

fn skip(rest: &mut Peekable<Chars<'_>>, is_skipped: impl Fn(char) -> bool) {
    while rest.next_if(|character| is_skipped(*character)).is_some() {}
}

fn take(rest: &mut Peekable<Chars<'_>>, is_taken: impl Fn(char) -> bool) -> String {
    std::iter::from_fn(|| rest.next_if(|character| is_taken(*character))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer { realm: realm.to_owned(), service: own(service), scope: own(scope) }
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let hub = bearer("https://auth.docker.io/token", Some("registry.docker.io"), Some("repository:library/x:pull"));
        let rows = [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/x:pull""#,
                vec![hub.clone()],
            ),
            (
                r#"bEARER  realm = "https://auth.docker.io/token" , Service=registry.docker.io ,scope="repository:library/x:pull",error="insufficient_scope""#,
                vec![hub],
            ),
            (
                r#"Bearer realm="https://codeberg.example/v2/token",service="container_registry",scope="*",Basic realm="https://codeberg.example/v2",service="x",scope="*""#,
                vec![
                    bearer("https://codeberg.example/v2/token", Some("container_registry"), Some("*")),
                    Challenge::Basic,
                ],
            ),
            (
                r#"Bearer realm="https://nvcr.example/proxy_auth""#,
                vec![bearer("https://nvcr.example/proxy_auth", None, None)],
            ),
            (r#"Bearer realm="https://a/t?x=1,2",scope="a b""#, vec![bearer("https://a/t?x=1,2", None, Some("a b"))]),
            (r#"Bearer realm="https://a/\"q\\",service="""#, vec![bearer(r#"https://a/"q\"#, None, None)]),
            (r#"Bearer realm="https://a/t" service="s""#, vec![bearer("https://a/t", Some("s"), None)]),
            (r#"Negotiate YIIabc+/==, NTLM, Digest realm="d", nonce="n", Basic"#, vec![Challenge::Basic]),
            (
                r#"Basic realm="x", Bearer realm="https://a/t""#,
                vec![Challenge::Basic, bearer("https://a/t", None, None)],
            ),
            ("Bearer", vec![]),
            (r#"Bearer service="s""#, vec![]),
            (r#"Bearer realm="https://a/t"#, vec![bearer("https://a/t", None, None)]),
            (r#""stray" Basic"#, vec![Challenge::Basic]),
            (r#"realm="x""#, vec![]),
            ("=,=\"", vec![]),
            ("", vec![]),
        ];
        for (header, expected) in rows {
            assert_eq!(parse(header), expected, "{header}");
        }
    }

    #[test]
    fn bearer_is_preferred_over_basic_across_headers() {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, "Basic realm=\"x\"".parse().unwrap());
        assert_eq!(Challenge::preferred(&headers), Some(Challenge::Basic));
        headers.append(WWW_AUTHENTICATE, "Bearer realm=\"https://a/t\"".parse().unwrap());
        assert_eq!(Challenge::preferred(&headers), Some(bearer("https://a/t", None, None)));
        assert_eq!(Challenge::preferred(&HeaderMap::new()), None);
    }
}
