//! What the server says when it starts, to whoever started it.

use std::net::SocketAddr;

use super::{Configuration, Source};
use crate::address::reachable;

impl Configuration {
    /// The text for people at the start: where everything is, and what to try. `listen` and `metrics` are the addresses
    /// that were really bound, which matters when a port was left to the system.
    pub fn report(&self, listen: SocketAddr, metrics: Option<SocketAddr>) -> String {
        let source = match &self.source {
            Source::File(path) => path.display().to_string(),
            Source::Defaults { looked_for } => format!("defaults, there is no {}", looked_for.display()),
        };
        let metrics =
            metrics.map_or_else(|| "off".to_owned(), |address| format!("http://{}/metrics", reachable(address)));
        let registry = reachable(listen);
        format!(
            "\
Entrepot {version}
  configuration  {source}
  listening on   {listen}
  own images     {own}
  cache          {cache}
  unfinished     {unfinished}
  metrics        {metrics}

Try it:
  docker pull {registry}/proxy/registry-1.docker.io/library/hello-world:latest
  docker tag {registry}/proxy/registry-1.docker.io/library/hello-world:latest {registry}/hello-world:latest
  docker push {registry}/hello-world:latest
",
            version = env!("CARGO_PKG_VERSION"),
            own = self.registry_storage,
            cache = self.proxy_storage,
            unfinished = self.temporary_registry_storage.display(),
        )
    }
}
