//! Files of the clients that have one file for all registries.

use super::{ClientFile, Subject, Upstream};
use crate::config::DOCKER_HUB;

/// Mirrors of Docker Hub alone: docker knows no other.
pub(super) fn docker(subject: &Subject<'_>) -> ClientFile {
    let (url, authority) = (subject.address.url(), subject.address.authority());
    let hub = subject.upstreams.iter().find(|upstream| upstream.host == DOCKER_HUB[0]);
    let (mirror, note) = match (subject.is_hub_at_root, hub) {
        (true, _) => (Some(url.clone()), "Any version of docker can use it.\n".to_owned()),
        (false, Some(Upstream { name, .. })) => (
            Some(format!("{url}/proxy/{name}")),
            "It needs docker 24.0.8 or later; for older ones write root_mirror = \"docker.io\" below [proxy] in the\n\
             configuration of this server, and print this file anew.\n"
                .to_owned(),
        ),
        (false, None) => (None, "docker.io is not listed in the configuration of this server.\n".to_owned()),
    };
    let notes = format!(
        "Docker Hub through this server: docker has mirrors for no other registry. What is in the file already must\n\
         stay in it. Then: systemctl restart docker\n{note}\
         Images of other registries are pulled by their path, as in {authority}/proxy/ghcr.io/org/app:1\n{}",
        subject.notes
    );
    let mirrors = mirror.map(|mirror| format!("  \"registry-mirrors\": [\"{mirror}\"]"));
    let insecure = (!subject.address.is_https()).then(|| format!("  \"insecure-registries\": [\"{authority}\"]"));
    let lines: Vec<_> = [mirrors, insecure].into_iter().flatten().collect();
    let content = format!("{{\n{}\n}}\n", lines.join(",\n"));
    ClientFile { path: "/etc/docker/daemon.json".to_owned(), notes, content, has_comments: false }
}

/// `registries.conf`, which podman and CRI-O share.
pub(super) fn containers(subject: &Subject<'_>, then: &str) -> ClientFile {
    let authority = subject.address.authority();
    let insecure = if subject.address.is_https() { "" } else { "insecure = true\n" };
    let notes = format!(
        "Each registry below through this server, and from the registry itself when this server has no answer.\n\
         {then}. Further registries need an entry of their own.\n{}",
        subject.notes
    );
    let own = if insecure.is_empty() {
        String::new()
    } else {
        format!("# This server itself, for own images.\n[[registry]]\nlocation = \"{authority}\"\n{insecure}\n")
    };
    let entries: Vec<_> = subject
        .upstreams
        .iter()
        .map(|Upstream { host, name, .. }| {
            format!(
                "[[registry]]\nprefix = \"{host}\"\nlocation = \"{host}\"\n\n\
                 [[registry.mirror]]\nlocation = \"{authority}/proxy/{name}\"\n{insecure}"
            )
        })
        .collect();
    let content = format!("{own}{}", entries.join("\n"));
    let path = "/etc/containers/registries.conf.d/entrepot.conf".to_owned();
    ClientFile { path, notes, content, has_comments: true }
}

/// k3s writes containerd's files from this one; an endpoint without a path is asked with `?ns=`.
pub(super) fn k3s(subject: &Subject<'_>) -> ClientFile {
    let notes = format!(
        "Every registry through this server; the registry itself is asked when this server has no answer. On every\n\
         node, servers and agents; then: systemctl restart k3s, or k3s-agent. \"*\" needs k3s 1.29 or one of the releases of\n\
         January 2024; older ones need an entry for each registry, whose endpoint is {}/v2/proxy/REGISTRY\n\
         rke2 reads /etc/rancher/rke2/registries.yaml, which is the same.\n{}",
        subject.address.url(),
        subject.notes
    );
    let url = subject.address.url();
    let listed = subject.listed.iter().map(|Upstream { host, name, .. }| {
        format!("  \"{host}\":\n    endpoint:\n      - \"{url}/v2/proxy/{name}\"\n")
    });
    let content = format!("mirrors:\n{}  \"*\":\n    endpoint:\n      - \"{url}\"\n", listed.collect::<String>());
    ClientFile { path: "/etc/rancher/k3s/registries.yaml".to_owned(), notes, content, has_comments: true }
}

/// A mirror with a path is asked with that path behind `/v2`.
pub(super) fn buildkit(subject: &Subject<'_>) -> ClientFile {
    let authority = subject.address.authority();
    let notes = format!(
        "Each registry below through this server, and from the registry itself when this server has no answer.\n\
         Further registries need an entry of their own. Then restart buildkitd; for docker buildx give the file to a new\n\
         builder: docker buildx create --use --buildkitd-config /etc/buildkit/buildkitd.toml\n{}",
        subject.notes
    );
    let mut entries: Vec<_> = subject
        .upstreams
        .iter()
        .map(|Upstream { host, name, .. }| {
            format!("[registry.\"{host}\"]\n  mirrors = [\"{authority}/proxy/{name}\"]\n")
        })
        .collect();
    if !subject.address.is_https() {
        entries.push(format!("[registry.\"{authority}\"]\n  http = true\n"));
    }
    let path = "/etc/buildkit/buildkitd.toml".to_owned();
    ClientFile { path, notes, content: entries.join("\n"), has_comments: true }
}
