//! Which object has which key.

use entrepot_blobs::StageId;
use entrepot_oci::Digest;
use object_store::path::Path;

/// The keys below one prefix of a bucket.
///
/// ```text
/// <prefix>
/// ├── docker/registry/v2/blobs/<algorithm>/<first two digits>/<all digits>
/// │   ├── data                            the blob, as the reference registry has it
/// │   └── entrepot                        or the pointer to it: where it is, and how large
/// └── entrepot
///     ├── uploads/<32 digits>             what was uploaded in parts before its digest was known
///     ├── probe                           written now and then to see whether writing is possible
///     └── stages/<stage id>
///         ├── <32 digits>.multipart       an upload in parts that was begun: its key and id
///         ├── <32 digits>.publishing      its upload is about to be completed: its key, and the digest that it is for
///         ├── <32 digits>.tail.<end>.<32> what was staged behind the last full part, up to the position <end>
///         ├── <32 digits>.object          a deleted blob that somebody may still read: the key of its object
///         └── <32 digits>.copy            the same, copied: the bytes themselves
/// ```
///
/// The 32 digits before the first dot are those of one incarnation of a stage: an id may be begun anew, and what the earlier one leaves
/// is removed without touching what the later one has.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    prefix: Path,
}

impl Layout {
    pub(crate) const fn new(prefix: Path) -> Self {
        Self { prefix }
    }

    pub(crate) fn data(&self, digest: &Digest) -> Path {
        self.of_blob(digest).join("data")
    }

    pub(crate) fn pointer(&self, digest: &Digest) -> Path {
        self.of_blob(digest).join("entrepot")
    }

    fn of_blob(&self, digest: &Digest) -> Path {
        let (algorithm, hex) = (digest.algorithm().as_str(), digest.hex());
        ["docker", "registry", "v2", "blobs", algorithm, &hex[..2], hex]
            .into_iter()
            .fold(self.prefix.clone(), Path::join)
    }

    /// The key of an upload whose digest is not known, relative to the prefix.
    pub(crate) fn upload(incarnation: &str) -> String {
        format!("entrepot/uploads/{incarnation}")
    }

    /// A key relative to the prefix, as markers and pointers have it: so they stay right when everything is copied elsewhere.
    pub(crate) fn absolute(&self, relative: &str) -> Path {
        relative.split('/').fold(self.prefix.clone(), Path::join)
    }

    /// A key below the prefix, relative to it.
    pub(crate) fn relative(&self, key: &Path) -> String {
        let key = key.as_ref();
        key.strip_prefix(self.prefix.as_ref()).map_or(key, |key| key.trim_start_matches('/')).to_owned()
    }

    pub(crate) fn stages(&self) -> Path {
        self.prefix.clone().join("entrepot").join("stages")
    }

    pub(crate) fn stage(&self, stage: &StageId) -> Path {
        self.stages().join(stage.as_str())
    }

    pub(crate) fn probe(&self) -> Path {
        self.prefix.clone().join("entrepot").join("probe")
    }

    /// The key of something of one incarnation of a stage.
    pub(crate) fn of_stage(&self, stage: &StageId, incarnation: &str, kind: &Kind) -> Path {
        self.stage(stage).join(match kind {
            Kind::Multipart => format!("{incarnation}.multipart"),
            Kind::Publishing => format!("{incarnation}.publishing"),
            Kind::Tail { end, unique } => format!("{incarnation}.tail.{end:016x}.{unique}"),
            Kind::Object => format!("{incarnation}.object"),
            Kind::Copy => format!("{incarnation}.copy"),
        })
    }

    /// What a key below [`stages`](Self::stages) is; `None` when it is nothing of ours.
    pub(crate) fn parse_of_stage(&self, key: &Path) -> Option<(StageId, String, Kind)> {
        let stages = self.stages();
        let mut parts = key.prefix_match(&stages)?;
        let stage = parts.next()?.as_ref().parse().ok()?;
        let name = parts.next()?;
        let mut words = name.as_ref().split('.');
        let incarnation = words.next().filter(|word| is_incarnation(word))?.to_owned();
        let kind = match (words.next()?, words.next(), words.next()) {
            ("multipart", None, None) => Kind::Multipart,
            ("publishing", None, None) => Kind::Publishing,
            ("object", None, None) => Kind::Object,
            ("copy", None, None) => Kind::Copy,
            ("tail", Some(end), Some(unique)) => {
                Kind::Tail { end: u64::from_str_radix(end, 16).ok()?, unique: unique.to_owned() }
            }
            _ => return None,
        };
        parts.next().is_none().then_some((stage, incarnation, kind))
    }
}

fn is_incarnation(word: &str) -> bool {
    word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What an object of a stage is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Multipart,
    Publishing,
    Tail { end: u64, unique: String },
    Object,
    Copy,
}

/// 32 digits that nobody else has.
pub(crate) fn unique() -> String {
    let id = StageId::unique("a");
    id.as_str()[2..].to_owned()
}

#[cfg(test)]
mod tests {
    use entrepot_oci::Algorithm;

    use super::*;

    #[test]
    fn blobs_are_where_the_reference_registry_has_them() {
        let layout = Layout::new(Path::from("some/prefix"));
        let digest = Algorithm::Sha256.digest(b"");
        let hex = digest.hex();
        let folder = format!("some/prefix/docker/registry/v2/blobs/sha256/e3/{hex}");
        assert_eq!(layout.data(&digest).as_ref(), format!("{folder}/data"));
        assert_eq!(layout.pointer(&digest).as_ref(), format!("{folder}/entrepot"));
        let root = Layout::new(Path::default());
        assert_eq!(root.data(&digest).as_ref(), format!("docker/registry/v2/blobs/sha256/e3/{hex}/data"));
    }

    #[test]
    fn objects_of_stages_are_recognised_and_nothing_else_is() {
        let layout = Layout::new(Path::from("p"));
        let (stage, incarnation): (StageId, _) = ("session-1".parse().unwrap(), unique());
        let tail = Kind::Tail { end: 123_456, unique: unique() };
        for kind in [Kind::Multipart, Kind::Publishing, tail, Kind::Object, Kind::Copy] {
            let key = layout.of_stage(&stage, &incarnation, &kind);
            assert_eq!(layout.parse_of_stage(&key), Some((stage.clone(), incarnation.clone(), kind)));
        }
        for other in
            ["p/entrepot/stages/s/x.multipart", "p/entrepot/stages/s", "q/entrepot/stages/s/x", "p/entrepot/probe"]
        {
            assert_eq!(layout.parse_of_stage(&Path::from(other)), None, "{other}");
        }
    }
}
