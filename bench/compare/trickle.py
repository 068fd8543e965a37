"""An upstream of large blobs that arrive slowly, and clients that read them more slowly still."""

import hashlib
import http.server
import json
import socket
import threading
import time

BLOB_BYTES = 1024 * 1024 * 1024
PIECE = bytes(64 * 1024)
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


class Trickle:
    """A registry of one image whose layers, of a GiB each, arrive at so many bytes a second each and never end."""

    def __init__(self, layers, bytes_per_second):
        self.digests = [f"sha256:{hashlib.sha256(b'%d' % number).hexdigest()}" for number in range(layers)]
        layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "size": BLOB_BYTES}
        config = {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "size": 2,
            "digest": f"sha256:{hashlib.sha256(b'{}').hexdigest()}",
        }
        content = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": config,
            "layers": [layer | {"digest": digest} for digest in self.digests],
        }
        self.manifest = json.dumps(content).encode()
        self.pause = len(PIECE) / bytes_per_second
        self._server = QuietServer(("127.0.0.1", 0), handler_of(self))
        self._server.daemon_threads = True
        self.address = "127.0.0.1:%d" % self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


class QuietServer(http.server.ThreadingHTTPServer):
    """That a server which is stopped breaks its connections is nothing to report."""

    def handle_error(self, request, client_address):
        pass


def handler_of(upstream):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            if self.path.rstrip("/") == "/v2":
                self._answer("application/json", b"{}")
            elif "/manifests/" in self.path:
                self._answer(MANIFEST_TYPE, upstream.manifest)
            else:
                self._answer("application/octet-stream", None)

        do_HEAD = do_GET

        def _answer(self, media_type, body):
            self.send_response(200)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(BLOB_BYTES if body is None else len(body)))
            if media_type == MANIFEST_TYPE:
                self.send_header("Docker-Content-Digest", f"sha256:{hashlib.sha256(body).hexdigest()}")
            self.end_headers()
            if self.command == "HEAD":
                return
            if body is not None:
                self.wfile.write(body)
                return
            try:
                while True:
                    self.wfile.write(PIECE)
                    time.sleep(upstream.pause)
            except OSError:
                # The server has left, or was stopped.
                self.close_connection = True

        def log_message(self, *_):
            pass

    return Handler


class SlowReaders:
    """Clients of one path each, reading so many bytes a second each."""

    def __init__(self, address, paths, bytes_per_second):
        self._stopping = threading.Event()
        self._pause = 16384 / bytes_per_second
        host, port = address.split(":")
        self._threads = [threading.Thread(target=self._read, args=(host, int(port), path)) for path in paths]
        for thread in self._threads:
            thread.start()

    def _read(self, host, port, path):
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            one.settimeout(60)
            one.connect((host, port))
            one.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
            while not self._stopping.wait(self._pause) and one.recv(16384):
                pass

    def stop(self):
        self._stopping.set()
        for thread in self._threads:
            thread.join()
