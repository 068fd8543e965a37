"""What single requests to a replica ask of PostgreSQL and of the bucket, counted by its own metrics."""

import hashlib
import http.client
import json
import os

COUNTERS = {
    "statements": "entrepot_database_registry_statements_total",
    "objects": "entrepot_object_storage_requests_total",
}

OCTETS = "application/octet-stream"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CHUNK_BYTES = 5 * 1024 * 1024


def counters(server):
    """What was asked so far; nothing of servers that do not say."""
    return {key: server.counted(name) for key, name in COUNTERS.items()}


def requests(server, mark, large):
    """Makes one request after the other, and yields each one's name with what it asked for."""
    connection = http.client.HTTPConnection(*server.address.split(":"), timeout=60)
    repository = f"counted/{mark}"

    def counted(name, method, path, status, body=None, kind=OCTETS):
        before = counters(server)
        connection.request(method, path, body, {"Content-Type": kind})
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != status:
            raise RuntimeError(f"{name}: {answer.status}: {said.decode(errors='replace')}")
        after = counters(server)
        return answer.headers.get("Location"), (name, {key: after[key] - before[key] for key in before})

    def with_digest(place, digest):
        return f"{place}{'&' if '?' in place else '?'}digest={digest}"

    uploads, layer = f"/v2/{repository}/blobs/uploads/", os.urandom(CHUNK_BYTES)
    digest = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    place, found = counted("POST: begin an upload", "POST", uploads, 202)
    yield found
    place, found = counted("PATCH of 5 MiB", "PATCH", place, 202, layer)
    yield found
    _, found = counted("PUT: close an upload of 5 MiB", "PUT", with_digest(place, digest), 201, b"")
    yield found
    small = os.urandom(2048)
    small_digest = f"sha256:{hashlib.sha256(small).hexdigest()}"
    place, _ = counted("POST", "POST", uploads, 202)
    _, found = counted("PUT of a blob of 2 KiB after a POST", "PUT", with_digest(place, small_digest), 201, small)
    yield found
    large_digest = large.rsplit("/", 1)[1]
    source = large.removeprefix("/v2/").split("/blobs/")[0]
    _, found = counted("mount of a blob", "POST", f"{uploads}?mount={large_digest}&from={source}", 201)
    yield found
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": OCTETS, "digest": small_digest, "size": len(small)},
        "layers": [{"mediaType": OCTETS, "digest": digest, "size": len(layer)}],
    }
    body = json.dumps(manifest).encode()
    _, found = counted("push of a manifest of 1 layer", "PUT", f"/v2/{repository}/manifests/latest", 201, body, MANIFEST)
    yield found
    subject = f"sha256:{hashlib.sha256(body).hexdigest()}"
    for name, method, path in (
        ("GET of a manifest by tag", "GET", "manifests/latest"),
        ("GET of a manifest by digest", "GET", f"manifests/{subject}"),
        ("HEAD of a blob", "HEAD", f"blobs/{digest}"),
        ("GET of a blob, no read cache", "GET", f"blobs/{digest}"),
        ("a page of tags", "GET", "tags/list?n=100"),
        ("a page of referrers", "GET", f"referrers/{subject}"),
    ):
        yield counted(name, method, f"/v2/{repository}/{path}", 200)[1]
    connection.close()
