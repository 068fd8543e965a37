"""A certificate that nobody has signed but its own key, for servers that speak TLS."""

import dataclasses
import pathlib
import subprocess


@dataclasses.dataclass(frozen=True)
class Certificate:
    """Two files in PEM."""

    certificate: pathlib.Path
    key: pathlib.Path


def make(folder):
    """Makes one, with a key on the curve that everybody uses."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    words = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    words += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    words += ["-out", made.certificate, "-keyout", made.key]
    done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"no certificate: {done.stderr}")
    return made
