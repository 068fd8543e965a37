//! Which request this is: a pure function from method and path to a [`Route`].
//!
//! Repository names have slashes and may hold components such as `blobs` or `manifests`, so a path is matched from the
//! right: what follows the name is a fixed tail, and a reference or digest never has a slash.

use std::borrow::Cow;

use entrepot_oci::{Digest, DigestError, NameError, RepositoryName, TagOrDigest};
use http::Method;
use percent_encoding::percent_decode_str;

/// A request of the registry API, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `GET /v2/`
    Base,
    /// `GET /v2/_catalog`
    Catalog,
    /// `GET /v2/_oci/ext/discover`, and the same below a repository.
    Discover,
    /// `GET` and `HEAD …/manifests/<reference>`
    PullManifest(RepositoryName, TagOrDigest),
    /// `PUT …/manifests/<reference>`
    PushManifest(RepositoryName, TagOrDigest),
    /// `DELETE …/manifests/<reference>`
    DeleteManifest(RepositoryName, TagOrDigest),
    /// `GET` and `HEAD …/blobs/<digest>`
    PullBlob(RepositoryName, Digest),
    /// `DELETE …/blobs/<digest>`
    DeleteBlob(RepositoryName, Digest),
    /// `POST …/blobs/uploads/`
    StartUpload(RepositoryName),
    /// `GET` and `HEAD` of an upload's location
    UploadStatus(RepositoryName, String),
    /// `PATCH` of an upload's location
    AppendToUpload(RepositoryName, String),
    /// `PUT` of an upload's location
    FinishUpload(RepositoryName, String),
    /// `DELETE` of an upload's location
    CancelUpload(RepositoryName, String),
    /// `GET …/tags/list`
    Tags(RepositoryName),
    /// `GET …/referrers/<digest>`
    Referrers(RepositoryName, Digest),
}

/// The right that a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access<'a> {
    /// None beyond being let in.
    None,
    /// To read the list of repositories.
    Catalog,
    /// To read the repository.
    Pull(&'a RepositoryName),
    /// To read and write the repository.
    Push(&'a RepositoryName),
    /// To delete from the repository.
    Delete(&'a RepositoryName),
}

impl Route {
    /// Parses a request's method and path (as sent, percent-encoded, without query).
    pub fn parse(method: &Method, path: &str) -> Result<Self, RouteError> {
        let place = Place::parse(path)?;
        place.with_method(method)
    }

    /// The right that the request needs. Every route has an arm, so that none can be forgotten.
    pub const fn access(&self) -> Access<'_> {
        match self {
            Self::Base | Self::Discover => Access::None,
            Self::Catalog => Access::Catalog,
            Self::PullManifest(name, _) | Self::PullBlob(name, _) | Self::Tags(name) | Self::Referrers(name, _) => {
                Access::Pull(name)
            }
            Self::PushManifest(name, _)
            | Self::StartUpload(name)
            | Self::UploadStatus(name, _)
            | Self::AppendToUpload(name, _)
            | Self::FinishUpload(name, _)
            | Self::CancelUpload(name, _) => Access::Push(name),
            Self::DeleteManifest(name, _) | Self::DeleteBlob(name, _) => Access::Delete(name),
        }
    }

    /// The name of the route for metrics: never anything from the request.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Catalog => "catalog",
            Self::Discover => "discover",
            Self::PullManifest(..) => "manifest_pull",
            Self::PushManifest(..) => "manifest_push",
            Self::DeleteManifest(..) => "manifest_delete",
            Self::PullBlob(..) => "blob_pull",
            Self::DeleteBlob(..) => "blob_delete",
            Self::StartUpload(_) => "upload_start",
            Self::UploadStatus(..) => "upload_status",
            Self::AppendToUpload(..) => "upload_append",
            Self::FinishUpload(..) => "upload_finish",
            Self::CancelUpload(..) => "upload_cancel",
            Self::Tags(_) => "tags",
            Self::Referrers(..) => "referrers",
        }
    }

    /// The repository that the request is about.
    pub const fn repository(&self) -> Option<&RepositoryName> {
        match self.access() {
            Access::None | Access::Catalog => None,
            Access::Pull(name) | Access::Push(name) | Access::Delete(name) => Some(name),
        }
    }

    /// The same, to be replaced by the name that it stands for.
    pub(crate) const fn repository_mut(&mut self) -> Option<&mut RepositoryName> {
        match self {
            Self::Base | Self::Catalog | Self::Discover => None,
            Self::PullManifest(name, _)
            | Self::PushManifest(name, _)
            | Self::DeleteManifest(name, _)
            | Self::PullBlob(name, _)
            | Self::DeleteBlob(name, _)
            | Self::StartUpload(name)
            | Self::UploadStatus(name, _)
            | Self::AppendToUpload(name, _)
            | Self::FinishUpload(name, _)
            | Self::CancelUpload(name, _)
            | Self::Tags(name)
            | Self::Referrers(name, _) => Some(name),
        }
    }

    /// What of the repository the request is about.
    pub fn subject(&self) -> Option<Subject> {
        match self {
            Self::PullManifest(_, reference)
            | Self::PushManifest(_, reference)
            | Self::DeleteManifest(_, reference) => Some(Subject::Manifest(reference.clone())),
            Self::PullBlob(_, digest) | Self::DeleteBlob(_, digest) | Self::Referrers(_, digest) => {
                Some(Subject::Content(digest.clone()))
            }
            Self::UploadStatus(_, id)
            | Self::AppendToUpload(_, id)
            | Self::FinishUpload(_, id)
            | Self::CancelUpload(_, id) => Some(Subject::Upload(id.clone())),
            Self::Base | Self::Catalog | Self::Discover | Self::StartUpload(_) | Self::Tags(_) => None,
        }
    }
}

/// What of a repository a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A manifest, by what it is asked by.
    Manifest(TagOrDigest),
    /// A blob, or what referrers refer to.
    Content(Digest),
    /// An upload, by what the client says is its id.
    Upload(String),
}

impl Subject {
    /// As it is logged.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Manifest(TagOrDigest::Tag(tag)) => tag.as_str(),
            Self::Manifest(TagOrDigest::Digest(digest)) | Self::Content(digest) => digest.as_str(),
            Self::Upload(id) => id,
        }
    }
}

/// Why a request is none of the API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// No such path.
    #[error("there is nothing at this path: the registry API begins with /v2/<repository>/")]
    UnknownPath,
    /// The path exists, the method on it does not.
    #[error("the method is not available here; available are {allowed}")]
    MethodNotAllowed {
        /// The value of an `Allow` header.
        allowed: &'static str,
    },
    /// The name is malformed.
    #[error("{text:?} is {source}")]
    Name {
        /// As it was sent, decoded.
        text: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// The digest is malformed or of an unsupported algorithm.
    #[error("{text:?} is {source}")]
    Digest {
        /// As it was sent, decoded.
        text: String,
        /// What is wrong with it.
        source: DigestError,
        /// What the digest is of.
        of: DigestOf,
    },
    /// The tag is malformed.
    #[error("{text:?} is not a tag: expected 1 to 128 letters, digits, '_', '.' or '-', not beginning with '.' or '-'")]
    Tag {
        /// As it was sent, decoded.
        text: String,
        /// Whether it was to be written: an impossible tag cannot be pushed, but asking for it is just a miss.
        is_push: bool,
    },
}

/// What a malformed digest was to name: what cannot exist is "not found" to a pull, and invalid to everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestOf {
    /// A manifest or blob to be read or deleted.
    Pull(&'static str),
    /// A manifest to be pushed, or the subject of referrers.
    Other,
}

/// A place of the API, before the method is looked at.
enum Place {
    Base,
    Catalog,
    Discover,
    Manifest(RepositoryName, String),
    Blob(RepositoryName, String),
    Uploads(RepositoryName),
    Upload(RepositoryName, String),
    Tags(RepositoryName),
    Referrers(RepositoryName, String),
}

impl Place {
    fn parse(path: &str) -> Result<Self, RouteError> {
        let rest = path.strip_prefix("/v2").ok_or(RouteError::UnknownPath)?;
        if rest.is_empty() || rest == "/" {
            return Ok(Self::Base);
        }
        let rest = rest.strip_prefix('/').ok_or(RouteError::UnknownPath)?;
        let segments: Vec<Cow<'_, str>> =
            rest.split('/').map(decode).collect::<Option<_>>().ok_or(RouteError::UnknownPath)?;
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        match segments.as_slice() {
            ["_catalog"] => Ok(Self::Catalog),
            ["_oci", "ext", "discover"] => Ok(Self::Discover),
            [name @ .., "_oci", "ext", "discover"] => parse_name(name).map(|_| Self::Discover),
            // Some libraries and reverse proxies drop the last slash.
            [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", ""] if !name.is_empty() => {
                parse_name(name).map(Self::Uploads)
            }
            [name @ .., "blobs", "uploads", id] if !name.is_empty() => {
                Ok(Self::Upload(parse_name(name)?, (*id).into()))
            }
            [name @ .., "blobs", digest] if !name.is_empty() => Ok(Self::Blob(parse_name(name)?, (*digest).into())),
            [name @ .., "manifests", reference] if !name.is_empty() => {
                Ok(Self::Manifest(parse_name(name)?, (*reference).into()))
            }
            [name @ .., "tags", "list"] if !name.is_empty() => parse_name(name).map(Self::Tags),
            [name @ .., "referrers", digest] if !name.is_empty() => {
                Ok(Self::Referrers(parse_name(name)?, (*digest).into()))
            }
            _ => Err(RouteError::UnknownPath),
        }
    }

    fn with_method(self, method: &Method) -> Result<Route, RouteError> {
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        match self {
            Self::Base if is_read => Ok(Route::Base),
            Self::Catalog if is_read => Ok(Route::Catalog),
            Self::Discover if is_read => Ok(Route::Discover),
            Self::Tags(name) if is_read => Ok(Route::Tags(name)),
            Self::Referrers(name, digest) if is_read => {
                Ok(Route::Referrers(name, parse_digest(digest, DigestOf::Other)?))
            }
            Self::Base | Self::Catalog | Self::Discover | Self::Tags(_) | Self::Referrers(..) => {
                not_allowed("GET, HEAD")
            }
            Self::Manifest(name, reference) => manifest(method, name, reference),
            Self::Blob(name, digest) => {
                let pull = DigestOf::Pull("blob");
                match *method {
                    Method::GET | Method::HEAD => Ok(Route::PullBlob(name, parse_digest(digest, pull)?)),
                    Method::DELETE => Ok(Route::DeleteBlob(name, parse_digest(digest, pull)?)),
                    _ => not_allowed("GET, HEAD, DELETE"),
                }
            }
            Self::Uploads(name) if *method == Method::POST => Ok(Route::StartUpload(name)),
            Self::Uploads(_) => not_allowed("POST"),
            Self::Upload(name, id) => match *method {
                Method::GET | Method::HEAD => Ok(Route::UploadStatus(name, id)),
                Method::PATCH => Ok(Route::AppendToUpload(name, id)),
                Method::PUT => Ok(Route::FinishUpload(name, id)),
                Method::DELETE => Ok(Route::CancelUpload(name, id)),
                _ => not_allowed("GET, HEAD, PATCH, PUT, DELETE"),
            },
        }
    }
}

fn manifest(method: &Method, name: RepositoryName, text: String) -> Result<Route, RouteError> {
    let is_push = *method == Method::PUT;
    let of = if is_push { DigestOf::Other } else { DigestOf::Pull("manifest") };
    let reference = match TagOrDigest::parse(&text) {
        Ok(reference) => reference,
        Err(Some(source)) => return Err(RouteError::Digest { text, source, of }),
        Err(None) => return Err(RouteError::Tag { text, is_push }),
    };
    match *method {
        Method::GET | Method::HEAD => Ok(Route::PullManifest(name, reference)),
        Method::PUT => Ok(Route::PushManifest(name, reference)),
        Method::DELETE => Ok(Route::DeleteManifest(name, reference)),
        _ => not_allowed("GET, HEAD, PUT, DELETE"),
    }
}

const fn not_allowed(allowed: &'static str) -> Result<Route, RouteError> {
    Err(RouteError::MethodNotAllowed { allowed })
}

/// A segment, decoded; `None` when it is not UTF-8. An encoded slash stays inside its segment, where no grammar has it.
fn decode(segment: &str) -> Option<Cow<'_, str>> {
    if segment.contains('%') { percent_decode_str(segment).decode_utf8().ok() } else { Some(segment.into()) }
}

fn parse_name(segments: &[&str]) -> Result<RepositoryName, RouteError> {
    let text = segments.join("/");
    if segments.iter().any(|segment| segment.contains('/')) {
        return Err(RouteError::Name { text, source: NameError::Malformed });
    }
    text.parse().map_err(|source| RouteError::Name { text, source })
}

fn parse_digest(text: String, of: DigestOf) -> Result<Digest, RouteError> {
    text.parse().map_err(|source| RouteError::Digest { text, source, of })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn name(text: &str) -> RepositoryName {
        text.parse().unwrap()
    }

    #[test]
    fn every_route_has_a_place_a_method_and_a_right() {
        let digest: Digest = DIGEST.parse().unwrap();
        let tag = TagOrDigest::parse("latest").unwrap();
        let by_digest = TagOrDigest::Digest(digest.clone());
        let app = || name("team/app");
        let team = name("team/app");
        let (pull, push, delete) = (Access::Pull(&team), Access::Push(&team), Access::Delete(&team));
        let rows = [
            ("GET", "/v2/".to_owned(), Route::Base, Access::None),
            ("HEAD", "/v2".to_owned(), Route::Base, Access::None),
            ("GET", "/v2/_catalog".to_owned(), Route::Catalog, Access::Catalog),
            ("GET", "/v2/_oci/ext/discover".to_owned(), Route::Discover, Access::None),
            ("GET", "/v2/team/app/_oci/ext/discover".to_owned(), Route::Discover, Access::None),
            ("GET", "/v2/team/app/manifests/latest".to_owned(), Route::PullManifest(app(), tag.clone()), pull),
            ("HEAD", format!("/v2/team/app/manifests/{DIGEST}"), Route::PullManifest(app(), by_digest.clone()), pull),
            ("PUT", "/v2/team/app/manifests/latest".to_owned(), Route::PushManifest(app(), tag.clone()), push),
            ("DELETE", "/v2/team/app/manifests/latest".to_owned(), Route::DeleteManifest(app(), tag), delete),
            ("GET", format!("/v2/team/app/blobs/{DIGEST}"), Route::PullBlob(app(), digest.clone()), pull),
            (
                "HEAD",
                format!("/v2/team/app/blobs/{}", DIGEST.replace(':', "%3A")),
                Route::PullBlob(app(), digest.clone()),
                pull,
            ),
            ("DELETE", format!("/v2/team/app/blobs/{DIGEST}"), Route::DeleteBlob(app(), digest.clone()), delete),
            ("POST", "/v2/team/app/blobs/uploads/".to_owned(), Route::StartUpload(app()), push),
            ("POST", "/v2/team/app/blobs/uploads".to_owned(), Route::StartUpload(app()), push),
            ("GET", "/v2/team/app/blobs/uploads/1".to_owned(), Route::UploadStatus(app(), "1".into()), push),
            ("PATCH", "/v2/team/app/blobs/uploads/1".to_owned(), Route::AppendToUpload(app(), "1".into()), push),
            ("PUT", "/v2/team/app/blobs/uploads/1".to_owned(), Route::FinishUpload(app(), "1".into()), push),
            ("DELETE", "/v2/team/app/blobs/uploads/1".to_owned(), Route::CancelUpload(app(), "1".into()), push),
            ("GET", "/v2/team/app/tags/list".to_owned(), Route::Tags(app()), pull),
            ("GET", format!("/v2/team/app/referrers/{DIGEST}"), Route::Referrers(app(), digest), pull),
        ];
        for (method, path, route, access) in rows {
            let parsed = Route::parse(&method.parse().unwrap(), &path);
            assert_eq!(parsed, Ok(route.clone()), "{method} {path}");
            assert_eq!(route.access(), access, "{method} {path}");
        }
    }

    #[test]
    fn names_may_hold_the_words_of_the_api() {
        for odd in ["blobs/uploads", "manifests", "tags/list", "a/blobs", "referrers/x/manifests", "uploads/blobs/tags"]
        {
            let parsed = Route::parse(&Method::GET, &format!("/v2/{odd}/manifests/1"));
            assert_eq!(parsed, Ok(Route::PullManifest(name(odd), TagOrDigest::parse("1").unwrap())), "{odd}");
        }
    }

    #[test]
    fn what_is_no_route_says_why() {
        let refused = |method: &str, path: &str| Route::parse(&method.parse().unwrap(), path).unwrap_err();
        for path in [
            "/",
            "/v1/",
            "/v2x",
            "/v2/app",
            "/v2/app/tags",
            "/v2/app/blobs/uploads/1/2",
            "/v2/manifests/1",
            "/v2/a/%ff/tags/list",
        ] {
            assert_eq!(refused("GET", path), RouteError::UnknownPath, "{path}");
        }
        for path in [
            "/v2//tags/list",
            "/v2/A/tags/list",
            "/v2/a%2Fb/tags/list",
            "/v2/../x/tags/list",
            "/v2/a%00/tags/list",
            "/v2/_x/tags/list",
        ] {
            assert!(matches!(refused("GET", path), RouteError::Name { .. }), "{path}");
        }
        assert!(matches!(refused("PUT", "/v2/a/manifests/+"), RouteError::Tag { is_push: true, .. }));
        assert!(matches!(refused("GET", "/v2/a/manifests/sha256:x"), RouteError::Digest { of: DigestOf::Pull(_), .. }));
        assert!(matches!(refused("GET", "/v2/a/referrers/x"), RouteError::Digest { of: DigestOf::Other, .. }));
        assert_eq!(refused("POST", "/v2/"), RouteError::MethodNotAllowed { allowed: "GET, HEAD" });
        assert_eq!(refused("GET", "/v2/a/blobs/uploads/"), RouteError::MethodNotAllowed { allowed: "POST" });
        assert!(matches!(refused("PATCH", "/v2/a/manifests/1"), RouteError::MethodNotAllowed { .. }));
    }
}
