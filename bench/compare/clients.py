"""The load program, run against a server."""

import json
import os
import subprocess


def load(server, command, over=None, **options):
    """Runs the load program against a server, over a link where one is given, and returns what it found."""
    return finish(server, begin(server, command, over, **options))


def begin(server, command, over=None, **options):
    """Starts the load program, for those who have more to do meanwhile."""
    pids = ",".join(str(pid) for pid in server.pids())
    words = [os.environ["LOAD"], command, "--address", (over or server).address, "--pid", pids]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(server, client):
    """Waits for a load program and returns what it found, or says why there is nothing."""
    out, error = client.communicate()
    if client.returncode:
        server.check()
        raise RuntimeError(f"{server.kind}: {error.strip() or client.returncode}; its log ends with: {server.log()}")
    return json.loads(out)
