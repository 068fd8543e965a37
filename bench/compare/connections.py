"""Connections that are only held: idle ones, and ones that read a blob as slowly as they can."""

import select
import socket
import time


class Held:
    """So many connections, on each of which one path was asked for."""

    def __init__(self, address, path, count, receive_buffer=None):
        host, port = address.split(":")
        request = f"GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()
        self.sockets = []
        for _ in range(count):
            one = socket.socket()
            if receive_buffer:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            one.settimeout(30)
            one.connect((host, int(port)))
            one.sendall(request)
            self.sockets.append(one)

    def read_first(self):
        """Waits until every connection has had something: for a small answer, all of it."""
        for one in self.sockets:
            if not one.recv(65536):
                raise RuntimeError("the server closed a connection that was to be held")

    def read_slowly(self, seconds, piece, pause):
        """Reads a small piece from each connection that has one, again and again."""
        end = time.monotonic() + seconds
        poll = select.poll()
        by_number = {one.fileno(): one for one in self.sockets}
        for number in by_number:
            poll.register(number, select.POLLIN)
        while time.monotonic() < end:
            for number, _ in poll.poll(1000):
                by_number[number].recv(piece)
            time.sleep(pause)

    def close(self):
        for one in self.sockets:
            one.close()
