"""Clients that speak TLS: h2load for requests over HTTP/1.1 and HTTP/2, openssl for new connections."""

import re
import resource
import subprocess
import time

import process

BYTES = re.compile(r"^traffic: .* \((\d+)\) data$", re.MULTILINE)
REQUESTS = re.compile(r"^requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded", re.MULTILINE)
CONNECTIONS = re.compile(r"^(\d+) connections in (\d+) real seconds", re.MULTILINE)


def ask(server, path, protocol, connections, streams, seconds):
    """Asks for one path over and over, and returns what the load program would."""
    words = ["h2load", "--threads", "1", "--clients", str(connections), "--duration", str(seconds)]
    words += ["--h1"] if protocol == "HTTP/1.1" else ["--max-concurrent-streams", str(streams)]
    text, found = measured(server, [*words, f"https://{server.address}{path}"])
    done, succeeded = map(int, match(REQUESTS, text, server).groups())
    if done == 0 or done != succeeded:
        raise RuntimeError(f"{server.kind}: {done} answers, {succeeded} of them good: {text}")
    # It may need a moment to end; its clock is the one that was given.
    return found | {"requests": done, "bytes": int(match(BYTES, text, server).group(1)), "seconds": seconds}


def connect(server, seconds):
    """Opens connections one after the other, without resuming sessions."""
    words = ["openssl", "s_time", "-connect", server.address, "-new", "-time", str(seconds)]
    text, found = measured(server, words)
    return found | {"requests": int(match(CONNECTIONS, text, server).group(1))}


def measured(server, words):
    """Runs a client, and tells what it and the server used."""
    pids = server.pids()
    used, own, begun = process.processor_seconds(pids), children_seconds(), time.perf_counter()
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        server.check()
        raise RuntimeError(f"{server.kind}: {words[0]} failed: {done.stdout}")
    return done.stdout, {
        "seconds": time.perf_counter() - begun,
        "server_seconds": process.processor_seconds(pids) - used,
        "client_seconds": children_seconds() - own,
    }


def children_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def match(pattern, text, server):
    found = pattern.search(text)
    if not found:
        raise RuntimeError(f"{server.kind}: an outcome that cannot be read: {text}")
    return found
