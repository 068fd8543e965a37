//! `entrepot client-config`: the files that make a client pull through this server, for the configuration at hand.

mod containerd;
mod registries;

use std::fs::File;
use std::io::Write;
use std::path::Path;

use entrepot_upstream::{Hosts, UpstreamConfig};

use super::{CommandError, Outcome, Screen};
use crate::address::ClientAddress;
use crate::cli::{ClientConfigArguments, ClientKind};
use crate::config::{Configuration, DOCKER_HUB};

/// Public registries that clients are told of where any public host may be pulled through and the client has no entry for all.
const WELL_KNOWN: [&str; 8] = [
    "docker.io",
    "ghcr.io",
    "quay.io",
    "gcr.io",
    "registry.k8s.io",
    "mcr.microsoft.com",
    "public.ecr.aws",
    "registry.gitlab.com",
];

/// A file of a client.
#[derive(Debug, PartialEq, Eq)]
struct ClientFile {
    /// Where the client looks for it.
    path: String,
    /// What to know and to do, for people; a comment in the file where the format has comments.
    notes: String,
    /// The file itself.
    content: String,
    has_comments: bool,
}

/// A registry as clients name it in images, and what it is called here.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Upstream {
    /// `docker.io`, `registry.corp:5000`
    host: String,
    /// Where the client finds it without this server.
    url: String,
    /// The component behind `proxy/`.
    name: String,
}

/// What the files are made from.
struct Subject<'s> {
    address: &'s ClientAddress,
    upstreams: Vec<Upstream>,
    /// The listed ones among them.
    listed: Vec<Upstream>,
    is_hub_at_root: bool,
    /// Notes that hold whatever the client is.
    notes: String,
}

/// `entrepot client-config`
pub(super) fn client_config(
    configuration: &Configuration,
    arguments: &ClientConfigArguments,
    screen: &mut Screen<'_>,
) -> Result<Outcome, CommandError> {
    let own = ClientAddress::of(&configuration.server);
    let subject = subject(configuration, arguments.server.as_ref().unwrap_or(&own), arguments.server.is_none());
    let files = files(arguments.client, &subject);
    match &arguments.write {
        Some(folder) => write_files(folder, &files, screen)?,
        None => {
            for (index, file) in files.iter().enumerate() {
                let blank = if index == 0 { "" } else { "\n" };
                write!(screen.out, "{blank}# ==== {} ====\n{}", file.path, file.shown())?;
            }
        }
    }
    Ok(Outcome::Well)
}

fn files(client: ClientKind, subject: &Subject<'_>) -> Vec<ClientFile> {
    match client {
        ClientKind::Docker => vec![registries::docker(subject)],
        ClientKind::Containerd => containerd::files(subject),
        ClientKind::Podman => {
            vec![registries::containers(subject, "podman, buildah and skopeo read it at every start")]
        }
        ClientKind::CriO => vec![registries::containers(subject, "then: systemctl reload crio")],
        ClientKind::K3s => vec![registries::k3s(subject)],
        ClientKind::Buildkit => vec![registries::buildkit(subject)],
    }
}

fn subject<'s>(configuration: &Configuration, address: &'s ClientAddress, is_guessed: bool) -> Subject<'s> {
    let hosts = configuration.proxy.hosts;
    let mut upstreams: Vec<Upstream> = Vec::new();
    for upstream in configuration.proxy.upstreams.iter().flat_map(listed) {
        if upstreams.iter().all(|other| other.host != upstream.host) {
            upstreams.push(upstream);
        }
    }
    let listed = upstreams.clone();
    if hosts == Hosts::Public {
        for host in WELL_KNOWN {
            if upstreams.iter().all(|other| other.host != host) {
                upstreams.push(public(host));
            }
        }
    }
    let root_mirror = configuration.proxy.settings.root_mirror.as_deref();
    let hub_names = upstreams.iter().filter(|upstream| upstream.host == DOCKER_HUB[0]).map(|upstream| &upstream.name);
    let is_hub_at_root =
        root_mirror.is_some_and(|name| DOCKER_HUB.contains(&name) || hub_names.into_iter().any(|hub| hub == name));
    let is_local = is_guessed && configuration.server.listen.ip().to_canonical().is_loopback();
    let notes = match (is_guessed, is_local) {
        (false, _) => String::new(),
        (true, true) => "This server listens on this machine only: clients elsewhere cannot reach it.\n".to_owned(),
        (true, false) => "For clients on other machines say how they see this server: --server HOST:PORT\n".to_owned(),
    };
    Subject { address, upstreams, listed, is_hub_at_root, notes }
}

/// The names in images that lead to a listed upstream: its own names that are hosts, or else the host of its URL.
fn listed(upstream: &UpstreamConfig) -> Vec<Upstream> {
    let names = || [&upstream.name].into_iter().chain(&upstream.aliases);
    let url = upstream.url.as_str().trim_end_matches('/');
    let authority = url.split_once("://").map_or(url, |(_, authority)| authority);
    let is_hub = names().any(|name| DOCKER_HUB.contains(&name.as_str())) || DOCKER_HUB.contains(&authority);
    if is_hub {
        return vec![Upstream { name: upstream.name.clone(), ..public(DOCKER_HUB[0]) }];
    }
    let hosts: Vec<&str> = names().map(String::as_str).filter(|name| name.contains('.')).collect();
    let hosts = if hosts.is_empty() { vec![authority] } else { hosts };
    let upstreams = hosts.into_iter().map(|host| Upstream {
        host: host.to_owned(),
        url: if host == authority { url.to_owned() } else { format!("https://{host}") },
        name: upstream.name.clone(),
    });
    upstreams.collect()
}

fn public(host: &str) -> Upstream {
    // Of the names of Docker Hub one alone serves the API.
    let server = if host == DOCKER_HUB[0] { "registry-1.docker.io" } else { host };
    Upstream { host: host.to_owned(), url: format!("https://{server}"), name: host.to_owned() }
}

impl ClientFile {
    /// The notes and the file, as they are printed. Without comments in the format, the notes are told apart from the file.
    fn shown(&self) -> String {
        let rest = if self.has_comments { "" } else { "# The file begins below; JSON has no comments.\n" };
        format!("{}{rest}\n{}", self.comments(), self.content)
    }

    /// What is written into the file.
    fn written(&self) -> String {
        if self.has_comments { format!("{}\n{}", self.comments(), self.content) } else { self.content.clone() }
    }

    fn comments(&self) -> String {
        self.notes.trim_end().lines().map(|line| format!("# {line}").trim_end().to_owned() + "\n").collect()
    }
}

fn write_files(folder: &Path, files: &[ClientFile], screen: &mut Screen<'_>) -> Result<(), CommandError> {
    for file in files {
        let path = folder.join(file.path.trim_start_matches('/'));
        let failed = |source| CommandError::ClientFile { path: path.clone(), source };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        // Never over a file that is there: it may hold what somebody else wrote.
        let mut written = File::create_new(&path).map_err(failed)?;
        written.write_all(file.written().as_bytes()).map_err(failed)?;
        writeln!(screen.out, "{}", path.display())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
