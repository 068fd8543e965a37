//! Files for containerd: one that holds for every registry, and one for each listed upstream for clients that send no `ns`.

use super::{ClientFile, Subject, Upstream};

const FOLDER: &str = "/etc/containerd/certs.d";

pub(super) fn files(subject: &Subject<'_>) -> Vec<ClientFile> {
    let all = every_registry(subject);
    [all].into_iter().chain(subject.listed.iter().map(|upstream| one_registry(subject, upstream))).collect()
}

/// <https://github.com/containerd/containerd/blob/main/docs/hosts.md>: without `server`, the registry itself is asked last.
fn every_registry(subject: &Subject<'_>) -> ClientFile {
    let notes = format!(
        "Every registry through this server; containerd says in ?ns= which one is meant, and asks it itself when\n\
         this server has no answer. No restart is needed. nerdctl finds the file by itself, ctr with --hosts-dir.\n\
         For Kubernetes and crictl /etc/containerd/config.toml must name the folder, in containerd 2:\n\
         \n    [plugins.\"io.containerd.cri.v1.images\".registry]\n      config_path = \"{FOLDER}\"\n\
         \nin containerd 1:\n\
         \n    [plugins.\"io.containerd.grpc.v1.cri\".registry]\n      config_path = \"{FOLDER}\"\n\n{}",
        subject.notes
    );
    let content = format!("[host.\"{}\"]\n  capabilities = [\"pull\", \"resolve\"]\n", subject.address.url());
    ClientFile { path: format!("{FOLDER}/_default/hosts.toml"), notes, content, has_comments: true }
}

fn one_registry(subject: &Subject<'_>, upstream: &Upstream) -> ClientFile {
    let Upstream { host, url, name } = upstream;
    let notes = format!(
        "{host} alone, by a path instead of ?ns=. It goes before _default/hosts.toml, and either of them is enough.\n{}",
        subject.notes
    );
    let content = format!(
        "server = \"{url}\"\n\n[host.\"{}/v2/proxy/{name}\"]\n  capabilities = [\"pull\", \"resolve\"]\n  override_path = true\n",
        subject.address.url()
    );
    ClientFile { path: format!("{FOLDER}/{}/hosts.toml", folder_of(host)), notes, content, has_comments: true }
}

/// The folder of a host: a colon is spelled as containerd spells it.
fn folder_of(host: &str) -> String {
    match host.rsplit_once(':') {
        Some((host, port)) => format!("{host}_{port}_"),
        None => host.to_owned(),
    }
}
