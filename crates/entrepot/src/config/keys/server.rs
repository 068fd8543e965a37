//! The keys of `[server]` and `[server.tls]`.

use super::{Form, Key};

/// Those of `server` and `server.tls`.
pub(super) const KEYS: &[Key] = &[
    Key {
        path: "server.listen",
        form: Form::Text,
        allowed: "an IP address with a port, as in \"127.0.0.1:5000\", \"0.0.0.0:5000\" or \"[::]:5000\"",
        default: "`\"127.0.0.1:5000\"`",
        meaning: "Where clients connect. An address that other machines can reach needs an `[access]` table.",
        example: "\"127.0.0.1:5000\"",
    },
    Key {
        path: "server.connections_max",
        form: Form::Integer,
        allowed: "a whole number from 1 to 1000000",
        default: "`10000`",
        meaning: "Connections served at once. Beyond it a few more get answers to health checks and 503 to everything else, \
                  then clients wait.",
        example: "10000",
    },
    Key {
        path: "server.shutdown_timeout",
        form: Form::Text,
        allowed: "a duration, as in \"30s\" or \"5m\"",
        default: "`\"30s\"`",
        meaning: "How long requests may go on after the process was told to stop.",
        example: "\"30s\"",
    },
    Key {
        path: "server.upload_expiry",
        form: Form::Text,
        allowed: "a duration from \"1m\" on, as in \"12h\" or \"7d\"",
        default: "`\"7d\"`",
        meaning: "An upload that nobody continued for this long is given up and its bytes are freed.",
        example: "\"7d\"",
    },
    Key {
        path: "server.blob_size_max",
        form: Form::Text,
        allowed: "a size from \"1\" byte on, as in \"512MiB\" or \"10GiB\"",
        default: "no limit",
        meaning: "The largest blob that can be pushed. Manifests are limited to 4 MiB in any case.",
        example: "\"10GiB\"",
    },
    Key {
        path: "server.public_url",
        form: Form::Text,
        allowed: "https://HOST or https://HOST:PORT, or http likewise, without user, path or query",
        default: "what each request says, as in its `Host`",
        meaning: "How clients reach the registry, where something stands in front of it: what they are told to get tokens from. Its host is what tokens are for.",
        example: "\"https://registry.example.com\"",
    },
    Key {
        path: "server.trusted_proxies",
        form: Form::Texts,
        allowed: "a list of IP addresses and networks, as in \"10.0.0.7\" or \"10.0.0.0/8\"",
        default: "none",
        meaning: "The reverse proxies whose `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host` are believed. From everybody else they are ignored.",
        example: "[\"127.0.0.1\", \"10.0.0.0/8\"]",
    },
    Key {
        path: "server.tls.certificate",
        form: Form::Text,
        allowed: "a file with certificates in PEM",
        default: "required",
        meaning: "The certificate that clients are shown, with the chain behind it. It is read again when it changes.",
        example: "\"/etc/entrepot/tls.pem\"",
    },
    Key {
        path: "server.tls.key",
        form: Form::Text,
        allowed: "a file with a private key in PEM",
        default: "required",
        meaning: "The key of `certificate`.",
        example: "\"/etc/entrepot/tls.key\"",
    },
    Key {
        path: "server.tls.client_ca",
        form: Form::Text,
        allowed: "a file with certificates in PEM",
        default: "none",
        meaning: "The authorities whose client certificates are believed. The name in one makes its holder `certificate:NAME`.",
        example: "\"/etc/entrepot/clients.pem\"",
    },
    Key {
        path: "server.tls.client_certificates",
        form: Form::Text,
        allowed: "\"optional\" or \"required\"",
        default: "`\"optional\"`, where there is a `client_ca`",
        meaning: "Whether a client may come without a certificate. Needs `client_ca`.",
        example: "\"required\"",
    },
];
