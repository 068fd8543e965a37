"""The programs that are not ours: what is missing of them is installed from Debian, and no service is started."""

import os
import pathlib
import shutil
import subprocess

PACKAGES = {
    "docker-registry": "docker-registry",
    "nginx": "nginx-light",
    "h2load": "nghttp2-client",
    "openssl": "openssl",
    "valgrind": "valgrind",
    "perf": "linux-perf",
}

# Asked by Debian's packages before they start anything; 101 says no.
POLICY = pathlib.Path("/usr/sbin/policy-rc.d")


def install_missing(programs):
    """Installs what is not there, or says what would have to be installed."""
    missing = sorted({PACKAGES[program] for program in programs if not shutil.which(program)})
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise RuntimeError(f"these packages of Debian are missing, and only root can install them: {' '.join(missing)}")
    print(f"installing: {' '.join(missing)}", flush=True)
    has_policy = POLICY.exists()
    if not has_policy:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        run("apt-get", "update", "--quiet=2")
        run("apt-get", "install", "--quiet=2", "--yes", "--no-install-recommends", *missing)
    finally:
        if not has_policy:
            POLICY.unlink()
    still = sorted(program for program in programs if not shutil.which(program))
    if still:
        raise RuntimeError(f"installed, and still not there: {' '.join(still)}")


def run(*words):
    done = subprocess.run(words, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} failed with status {done.returncode}")
