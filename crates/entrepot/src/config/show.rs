//! The configuration that holds, as a text: what `entrepot check` prints. Secrets are `***`.

use std::fmt;
use std::path::Path;

use super::show_access::write_access;
use super::show_proxy::write_proxy;
use super::show_storage::{quoted_location, write_storage};
use super::value::{show_duration, show_size};
use super::{Configuration, ServerConfiguration, Source};

impl Configuration {
    /// Every value that holds, as a file that says so would have it; but with `***` for secrets and a comment for what
    /// is absent, so it is for reading.
    pub fn describe(&self) -> String {
        Described(self).to_string()
    }
}

struct Described<'c>(&'c Configuration);

impl fmt::Display for Described<'_> {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(configuration) = self;
        match &configuration.source {
            Source::File(path) => writeln!(text, "# from {}\n", path.display())?,
            Source::Defaults { looked_for } => writeln!(text, "# defaults: there is no {}\n", looked_for.display())?,
        }
        writeln!(text, "registry_storage = {}", quoted_location(&configuration.registry_storage))?;
        writeln!(text, "temporary_registry_storage = {}", quoted(&configuration.temporary_registry_storage))?;
        writeln!(text, "proxy_storage = {}", quoted_location(&configuration.proxy_storage))?;
        write_storage(text, configuration)?;
        writeln!(text, "\n[server]\nlisten = \"{}\"", configuration.server.listen)?;
        writeln!(text, "connections_max = {}", configuration.server.connections_max)?;
        writeln!(text, "shutdown_timeout = \"{}\"", show_duration(configuration.server.shutdown_timeout))?;
        writeln!(text, "upload_expiry = \"{}\"", show_duration(configuration.server.upload_expiry))?;
        match configuration.server.blob_size_max {
            Some(size) => writeln!(text, "blob_size_max = \"{}\"", show_size(size))?,
            None => writeln!(text, "# blob_size_max: no limit")?,
        }
        write_reach(text, &configuration.server)?;
        write_access(text, configuration)?;
        write_proxy(text, &configuration.proxy)?;
        writeln!(text, "\n[telemetry]\nlog = \"{}\"", configuration.telemetry.log.as_str())?;
        writeln!(text, "log_level = \"{}\"", configuration.telemetry.log_level.as_str())?;
        match configuration.telemetry.metrics_listen {
            Some(address) => writeln!(text, "metrics_listen = \"{address}\""),
            None => writeln!(text, "metrics_listen = \"off\""),
        }
    }
}

/// How clients reach the server, beside its address.
fn write_reach(text: &mut fmt::Formatter<'_>, server: &ServerConfiguration) -> fmt::Result {
    match &server.public_url {
        Some(url) => writeln!(text, "public_url = {url:?}")?,
        None => writeln!(text, "# public_url: what each request says")?,
    }
    match &server.trusted_proxies[..] {
        [] => writeln!(text, "# trusted_proxies: none")?,
        proxies => writeln!(text, "trusted_proxies = {proxies:?}")?,
    }
    let Some(tls) = &server.tls else { return Ok(()) };
    writeln!(text, "\n[server.tls]\ncertificate = {}", quoted(&tls.certificate))?;
    writeln!(text, "key = {}", quoted(&tls.key))?;
    match &tls.client_ca {
        Some(file) => {
            writeln!(text, "client_ca = {}", quoted(file))?;
            writeln!(text, "client_certificates = \"{}\"", tls.client_certificates.as_str())
        }
        None => writeln!(text, "# client_ca: none, clients are asked for no certificate"),
    }
}

/// A path as it would be written.
pub(crate) fn quoted(path: &Path) -> String {
    format!("{:?}", path.to_string_lossy())
}
