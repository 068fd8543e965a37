//! What platforms the entries of an index are for: a view for those who want a part of it only.

use serde::Deserialize;
use serde_json::Value;

use crate::Manifest;

/// What platform an entry of an index says that it is for.
/// <https://github.com/opencontainers/image-spec/blob/main/image-index.md>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildPlatform {
    /// `linux`
    pub os: String,
    /// `arm64`
    pub architecture: String,
    /// `v8`, where it says so.
    pub variant: Option<String>,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    manifests: Vec<Child>,
}

#[derive(Deserialize)]
struct Child {
    /// Read leniently: a platform that makes no sense is no platform, and no reason to refuse the index.
    platform: Option<Value>,
}

impl Manifest {
    /// The platforms of the entries of an index, in their order, `None` for an entry that names none; nothing for a manifest that is
    /// no index. Read from the bytes each time: few ask for it.
    pub fn child_platforms(&self) -> Vec<Option<ChildPlatform>> {
        let document: Option<Document> = serde_json::from_slice(self.bytes()).ok();
        let children = document.map_or_else(Vec::new, |document| document.manifests);
        children.into_iter().map(|child| read(&child.platform?)).collect()
    }
}

fn read(platform: &Value) -> Option<ChildPlatform> {
    let text = |field: &str| platform.get(field)?.as_str().map(str::to_owned);
    let variant = text("variant").filter(|variant| !variant.is_empty());
    Some(ChildPlatform { os: text("os")?, architecture: text("architecture")?, variant })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn platforms_stand_beside_their_entries_and_odd_ones_are_none() {
        let entry = |platform: &str| {
            let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":1{platform}}}"#
            )
        };
        let entries = [
            entry(r#","platform":{"os":"linux","architecture":"arm","variant":"v7"}"#),
            entry(""),
            entry(r#","platform":{"os":"linux","architecture":"amd64","variant":""}"#),
            entry(r#","platform":{"os":7}"#),
        ];
        let index = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{}]}}"#,
            entries.join(",")
        );
        let index = Manifest::parse(Bytes::from(index), None).unwrap();
        let platform = |architecture: &str, variant: Option<&str>| ChildPlatform {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: variant.map(str::to_owned),
        };
        let expected = [Some(platform("arm", Some("v7"))), None, Some(platform("amd64", None)), None];
        assert_eq!(index.child_platforms(), expected);
        assert_eq!(index.child_platforms().len(), index.references().len());
    }
}
