"""A network between two servers on one machine: everything that comes back over it shares one bandwidth."""

import socket
import threading
import time

PIECE_BYTES = 256 * 1024

# How far the link may catch up: without it, what is lost by waking up late is lost for good, and the link is slower
# than it says.
CATCH_UP_SECONDS = 0.02


class Link:
    """Passes connections on to `target`; what `target` answers passes at so many bytes a second in all."""

    def __init__(self, target, bytes_per_second):
        host, port = target.address.split(":")
        self._target = (host, int(port))
        self._seconds_per_byte = 1 / bytes_per_second
        self._lock = threading.Lock()
        self._free_at = 0.0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = "127.0.0.1:%d" % self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self):
        self._listener.close()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
            except OSError:
                # Stopped, or the target was.
                return
            for source, sink, is_limited in ((near, far, False), (far, near, True)):
                threading.Thread(target=self._pass_on, args=(source, sink, is_limited), daemon=True).start()

    def _pass_on(self, source, sink, is_limited):
        try:
            while piece := source.recv(PIECE_BYTES):
                if is_limited:
                    self._wait_for(len(piece))
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            source.close()
            sink.close()

    def _wait_for(self, count):
        """Books the link for `count` bytes, behind everything that was booked before, and waits for their turn."""
        with self._lock:
            now = time.perf_counter()
            self._free_at = max(now - CATCH_UP_SECONDS, self._free_at) + count * self._seconds_per_byte
            wait = self._free_at - now
        if wait > 0:
            time.sleep(wait)
