//! What a client has to know of a bucket.

/// A bucket of an S3 server on a loopback port, and who may do everything in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// `http://127.0.0.1:PORT`, without a slash at the end. The bucket is named in the path.
    pub endpoint: String,
    /// The region that signatures name.
    pub region: String,
    /// Its name.
    pub name: String,
    /// The identifier of the key.
    pub access_key_id: String,
    /// The secret of the key.
    pub secret_access_key: String,
}

impl Bucket {
    /// The same bucket by way of another port, such as that of a [`super::CutProxy`] in front of its server.
    #[must_use]
    pub fn at(&self, port: u16) -> Self {
        Self { endpoint: format!("http://127.0.0.1:{port}"), ..self.clone() }
    }
}
