//! Query strings: pairs in their order, percent-decoded.

use percent_encoding::percent_decode_str;

/// The parameters of a request. A key may stand more than once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads what stands behind the `?`. What is not UTF-8 is replaced: no parameter of the API has such a value.
    pub(crate) fn parse(query: Option<&str>) -> Self {
        let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(key), decode(value))
                })
                .collect(),
        )
    }

    /// The first value of a key.
    pub(crate) fn first(&self, key: &str) -> Option<&str> {
        self.all(key).next()
    }

    /// Every key.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }

    /// Every value of a key.
    pub(crate) fn all<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_may_repeat() {
        let query = Query::parse(Some("tag=a&tag=b%3Ac&empty=&alone&digest=sha256%3Ax"));
        assert_eq!(query.all("tag").collect::<Vec<_>>(), ["a", "b:c"]);
        assert_eq!(query.first("empty"), Some(""));
        assert_eq!(query.first("alone"), Some(""));
        assert_eq!(query.first("digest"), Some("sha256:x"));
        assert_eq!(Query::parse(None).first("x"), None);
    }
}
