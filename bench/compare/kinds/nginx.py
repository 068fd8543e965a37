"""nginx, serving the files of a registry: the practical limit for reading."""

import os
import subprocess

NAME = "nginx"

# No log for requests, as everywhere. No cache of open files: a registry opens the blob that it is asked for, too.
CONFIGURATION = """\
{user}worker_processes {cores};
worker_rlimit_nofile 20000;
pid {folder}/pid;
error_log stderr crit;
daemon off;
events {{
    worker_connections 10000;
}}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    default_type application/octet-stream;
    client_body_temp_path {folder}/temporary;
    proxy_temp_path {folder}/temporary;
    fastcgi_temp_path {folder}/temporary;
    uwsgi_temp_path {folder}/temporary;
    scgi_temp_path {folder}/temporary;
    server {{
        listen {address}{listen_options} backlog=4096;
{tls}        root {folder}/files;
        location = /v2/ {{
            return 200 "{{}}";
        }}
        location /v2/bench/app/manifests/ {{
            default_type application/vnd.oci.image.manifest.v1+json;
        }}
    }}
}}
"""

TLS = """\
        ssl_certificate {certificate};
        ssl_certificate_key {key};
"""


def command(folder, fields):
    """Writes the configuration and returns what starts the server."""
    (folder / "files").mkdir(exist_ok=True)
    is_tls = fields["certificate"]
    file = folder / "nginx.conf"
    text = CONFIGURATION.format(
        folder=folder,
        # Its usual user may not be able to reach our folders.
        user="user root;\n" if os.geteuid() == 0 else "",
        cores=os.cpu_count(),
        listen_options=" ssl http2" if is_tls else "",
        tls=TLS.format(**fields) if is_tls else "",
        **fields,
    )
    file.write_text(text)
    return ["nginx", "-e", "stderr", "-p", folder, "-c", file]


def version():
    done = subprocess.run(["nginx", "-v"], stderr=subprocess.PIPE, check=True, text=True)
    return done.stderr.split(": ")[1].strip().replace("/", " ")
