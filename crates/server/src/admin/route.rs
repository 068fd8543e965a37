//! Which administrative request this is.

use http::Method;

use crate::route::RouteError;

/// What stands before every administrative path.
pub(super) const ROOT: &str = "/api/v1/";

/// A request of the administrative API, parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminRoute {
    /// `GET cache/stats`
    Stats,
    /// `GET cache/entries`
    Entries,
    /// `GET cache/pins`
    Pins,
    /// `POST cache/pin`
    Pin,
    /// `POST cache/unpin`
    Unpin,
    /// `POST cache/evict`
    Evict,
    /// `POST cache/purge`
    Purge,
    /// `POST cache/refresh`
    Refresh,
    /// `POST cache/warm`
    Warm,
    /// `GET explain`
    Explain,
    /// `GET tokens`
    Tokens,
    /// `POST tokens`
    CreateToken,
    /// `POST tokens/revoke`
    RevokeToken,
}

impl AdminRoute {
    /// Every one, so that tests can ask each of them.
    pub const ALL: [Self; 13] = [
        Self::Stats,
        Self::Entries,
        Self::Pins,
        Self::Pin,
        Self::Unpin,
        Self::Evict,
        Self::Purge,
        Self::Refresh,
        Self::Warm,
        Self::Explain,
        Self::Tokens,
        Self::CreateToken,
        Self::RevokeToken,
    ];

    /// Parses a request's method and path (as sent).
    pub fn parse(method: &Method, path: &str) -> Result<Self, RouteError> {
        let route = match path.strip_prefix(ROOT) {
            Some("cache/stats") => Self::Stats,
            Some("cache/entries") => Self::Entries,
            Some("cache/pins") => Self::Pins,
            Some("cache/pin") => Self::Pin,
            Some("cache/unpin") => Self::Unpin,
            Some("cache/evict") => Self::Evict,
            Some("cache/purge") => Self::Purge,
            Some("cache/refresh") => Self::Refresh,
            Some("cache/warm") => Self::Warm,
            Some("explain") => Self::Explain,
            Some("tokens") if *method == Method::POST => Self::CreateToken,
            Some("tokens") => Self::Tokens,
            Some("tokens/revoke") => Self::RevokeToken,
            _ => return Err(RouteError::UnknownPath),
        };
        match (route.changes(), method) {
            (false, &(Method::GET | Method::HEAD)) | (true, &Method::POST) => Ok(route),
            (false, _) if route == Self::Tokens => Err(RouteError::MethodNotAllowed { allowed: "GET, HEAD, POST" }),
            (false, _) => Err(RouteError::MethodNotAllowed { allowed: "GET, HEAD" }),
            (true, _) => Err(RouteError::MethodNotAllowed { allowed: "POST" }),
        }
    }

    /// Whether the request changes something, so that it is a POST with a body.
    pub(super) const fn changes(self) -> bool {
        match self {
            Self::Stats | Self::Entries | Self::Pins | Self::Explain | Self::Tokens => false,
            Self::Pin
            | Self::Unpin
            | Self::Evict
            | Self::Purge
            | Self::Refresh
            | Self::Warm
            | Self::CreateToken
            | Self::RevokeToken => true,
        }
    }

    /// The parameters that the query may have.
    pub(super) const fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Entries => &["repository", "last", "n"],
            Self::Explain => &["reference"],
            Self::Tokens => &["last"],
            Self::Stats
            | Self::Pins
            | Self::Pin
            | Self::Unpin
            | Self::Evict
            | Self::Purge
            | Self::Refresh
            | Self::Warm
            | Self::CreateToken
            | Self::RevokeToken => &[],
        }
    }

    /// The name of the route for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Stats => "cache_stats",
            Self::Entries => "cache_entries",
            Self::Pins => "cache_pins",
            Self::Pin => "cache_pin",
            Self::Unpin => "cache_unpin",
            Self::Evict => "cache_evict",
            Self::Purge => "cache_purge",
            Self::Refresh => "cache_refresh",
            Self::Warm => "cache_warm",
            Self::Explain => "explain",
            Self::Tokens => "tokens",
            Self::CreateToken => "token_create",
            Self::RevokeToken => "token_revoke",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_has_a_path_and_a_method() {
        let rows = [
            ("GET", "cache/stats", AdminRoute::Stats),
            ("HEAD", "cache/entries", AdminRoute::Entries),
            ("GET", "cache/pins", AdminRoute::Pins),
            ("POST", "cache/pin", AdminRoute::Pin),
            ("POST", "cache/unpin", AdminRoute::Unpin),
            ("POST", "cache/evict", AdminRoute::Evict),
            ("POST", "cache/purge", AdminRoute::Purge),
            ("POST", "cache/refresh", AdminRoute::Refresh),
            ("POST", "cache/warm", AdminRoute::Warm),
            ("GET", "explain", AdminRoute::Explain),
            ("GET", "tokens", AdminRoute::Tokens),
            ("POST", "tokens", AdminRoute::CreateToken),
            ("POST", "tokens/revoke", AdminRoute::RevokeToken),
        ];
        let parse = |method: &str, path: &str| AdminRoute::parse(&method.parse().unwrap(), path);
        for (method, path, route) in rows {
            let path = format!("{ROOT}{path}");
            assert_eq!(parse(method, &path), Ok(route), "{method} {path}");
            let other = if route.changes() { "GET" } else { "POST" };
            // One path has both.
            if path.ends_with("/tokens") {
                continue;
            }
            assert!(matches!(parse(other, &path), Err(RouteError::MethodNotAllowed { .. })), "{other} {path}");
            assert!(matches!(parse("DELETE", &path), Err(RouteError::MethodNotAllowed { .. })), "DELETE {path}");
        }
        assert_eq!(rows.map(|(_, _, route)| route), AdminRoute::ALL);
        for path in ["/api/v1/", "/api/v1/cache", "/api/v1/cache/pin/", "/api/v1//cache/pin", "/api/v2/cache/pin"] {
            assert_eq!(parse("GET", path), Err(RouteError::UnknownPath), "{path}");
        }
    }
}
