//! The configuration that holds, as a text: what `entrepot check` prints. Secrets are `***`.

use std::fmt;
use std::path::Path;

use super::show_proxy::write_proxy;
use super::value::{show_duration, show_size};
use super::{Anonymous, Configuration, Source};

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
        writeln!(text, "registry_storage = {}", quoted(&configuration.registry_storage))?;
        writeln!(text, "temporary_registry_storage = {}", quoted(&configuration.temporary_registry_storage))?;
        writeln!(text, "proxy_storage = {}", quoted(&configuration.proxy_storage))?;
        writeln!(text, "\n[server]\nlisten = \"{}\"", configuration.server.listen)?;
        writeln!(text, "connections_max = {}", configuration.server.connections_max)?;
        writeln!(text, "shutdown_timeout = \"{}\"", show_duration(configuration.server.shutdown_timeout))?;
        writeln!(text, "upload_expiry = \"{}\"", show_duration(configuration.server.upload_expiry))?;
        match configuration.server.blob_size_max {
            Some(size) => writeln!(text, "blob_size_max = \"{}\"", show_size(size))?,
            None => writeln!(text, "# blob_size_max: no limit")?,
        }
        match configuration.anonymous {
            Some(Anonymous::Full) => writeln!(text, "\n[access]\nanonymous = \"full\"")?,
            None => writeln!(text, "\n[access]\n# anonymous: \"full\", because only this machine can connect")?,
        }
        write_proxy(text, &configuration.proxy)?;
        writeln!(text, "\n[telemetry]\nlog = \"{}\"", configuration.telemetry.log.as_str())?;
        writeln!(text, "log_level = \"{}\"", configuration.telemetry.log_level.as_str())?;
        match configuration.telemetry.metrics_listen {
            Some(address) => writeln!(text, "metrics_listen = \"{address}\""),
            None => writeln!(text, "metrics_listen = \"off\""),
        }
    }
}

fn quoted(path: &Path) -> String {
    format!("{:?}", path.to_string_lossy())
}
