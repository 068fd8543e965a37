"""Clients that speak TLS: h2load for requests over HTTP/1.1 and HTTP/2, openssl for new connections."""

import re
import resource
import subprocess
import time

import process

FINISHED = re.compile(r"^finished in ([0-9.]+)(us|ms|s|m),", re.MULTILINE)
REQUESTS = re.compile(r"^requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded", re.MULTILINE)
CONNECTIONS = re.compile(r"^(\d+) connections in (\d+) real seconds", re.MULTILINE)


def repeat(server, path, protocol, connections, streams, requests, size):
    """Asks for one path so many times, and returns what the load program would."""
    words = ["h2load", "--threads", "1", "--clients", str(connections), "--requests", str(requests)]
    words += ["--h1"] if protocol == "HTTP/1.1" else ["--max-concurrent-streams", str(streams)]
    text, found = measured(server, [*words, f"https://{server.address}{path}"])
    done, succeeded = map(int, match(REQUESTS, text, server).groups())
    if done != requests or succeeded != requests:
        raise RuntimeError(f"{server.kind}: {done} answers, {succeeded} of them good: {text}")
    number, unit = match(FINISHED, text, server).groups()
    seconds = float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[unit]
    return found | {"requests": done, "bytes": done * size, "seconds": seconds}


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
