"""TLS: a large blob and a manifest over HTTP/1.1 and HTTP/2, and new connections. The same certificate for both
servers."""

import certificate
import encrypted
import kinds
from groups.common import Standing, client_share, transfer
from samples import CLIENT, PROCESSOR, PROCESSOR_EACH, RATE, SPEED, Column, rows

BLOB_BYTES = 64 * 1024 * 1024

# Protocol, connections, and requests at once on each.
LARGE = {"h1-1": ("HTTP/1.1", 1, 1), "h1-8": ("HTTP/1.1", 8, 1), "h2-1": ("HTTP/2", 1, 1), "h2-8": ("HTTP/2", 8, 1)}
SMALL = {"h1": ("HTTP/1.1", 64, 1), "h2": ("HTTP/2", 8, 8)}


class Tls(Standing):
    kinds = [kinds.ENTREPOT, kinds.NGINX]
    needs = ["h2load", "openssl"]

    def __init__(self, bench):
        super().__init__(bench)
        made = certificate.make(bench.folder / "certificate")
        for kind, server in self.servers.items():
            server.stop()
            self.servers[kind] = bench.start(kind, "tls", fresh=False, certificate=made)
        columns = (SPEED, PROCESSOR, CLIENT)
        self.large = {
            key: rows(f"tls-pull-{key}", f"TLS, {protocol}: pull of {BLOB_BYTES >> 20} MiB, {count} at once", *columns)
            for key, (protocol, count, _) in LARGE.items()
        }
        columns = (RATE, PROCESSOR_EACH, CLIENT)
        self.small = {
            key: rows(
                f"tls-small-{key}", f"TLS, {protocol}: GET of a manifest by tag, {count * streams} at once", *columns
            )
            for key, (protocol, count, streams) in SMALL.items()
        }
        columns = (Column("rate", "rate", "connections/s", True), PROCESSOR_EACH, CLIENT)
        self.new = rows("tls-new", "TLS: new connections, one after the other", *columns)

    def large_bytes(self):
        return BLOB_BYTES

    def measure(self, kind, _number):
        server, paths = self.servers[kind], self.paths[kind]
        for key, work in LARGE.items():
            found = encrypted.repeat(server, paths["large"], *work, self.scale.tls_pulls, BLOB_BYTES)
            yield from transfer(found, self.large[key])
        for key, work in SMALL.items():
            found = encrypted.repeat(server, paths["tag"], *work, self.scale.tls_requests, 0)
            yield from each(found, self.small[key])
        yield from each(encrypted.connect(server, max(1, int(self.scale.small_seconds))), self.new)


def each(found, these):
    rate, processor, client = these
    yield rate, found["requests"] / found["seconds"]
    yield processor, found["server_seconds"] / found["requests"] * 1e6
    yield client, client_share(found)
