"""Requests, pools, one PostgreSQL and its log, event by event.

A replica has a pool of connections. A request takes one, or waits for it in turn; then each of its statements crosses the network, waits for a
core of the database, and crosses back. A transaction that writes ends with a COMMIT: the log is flushed for all who wait at that moment
together, and whoever comes meanwhile is in the next flush. A hot row is one that many transactions change: its lock is held until the
commit is over, so that they pass one after the other. The queue of notices is such a lock for every transaction that notifies.
"""

import heapq
import math
import random
from collections import deque


class Settings:
    def __init__(self, inputs, replicas, reads, writes, **others):
        value = lambda name: inputs[name].value / 1000
        self.replicas, self.reads, self.writes = replicas, reads, writes
        self.read_time, self.write_time = value("read_time"), value("write_time")
        self.flush_time, self.round_trip = value("flush_time"), value("round_trip")
        self.cores = int(inputs["database_cores"].value)
        self.pool = int(inputs["connections"].value)
        # Connections to the server in all; a pool in front of it is what makes them fewer than those of the replicas.
        self.server_connections = others.pop("server_connections", None)
        self.statements = others.pop("statements", 8)
        # How many rows share what all writes change; 0: there is no such row.
        self.hot_rows = others.pop("hot_rows", 0)
        self.seconds = others.pop("seconds", 2.0)
        assert not others, others


class Request:
    __slots__ = ("begun", "replica", "is_write", "left", "row")

    def __init__(self, begun, replica, is_write, left, row):
        self.begun, self.replica, self.is_write, self.left, self.row = begun, replica, is_write, left, row


class Gate:
    """So many at once, the others in the order in which they came."""

    def __init__(self, width):
        self.width, self.inside, self.waiting = width, 0, deque()

    def enter(self, request):
        if self.inside < self.width:
            self.inside += 1
            return True
        self.waiting.append(request)
        return False

    def leave(self):
        """Who comes in, in the place of whoever leaves."""
        if self.waiting:
            return self.waiting.popleft()
        self.inside -= 1
        return None


class Simulation:
    def __init__(self, settings, seed=1):
        self.settings, self.random = settings, random.Random(seed)
        self.now, self.events, self.number = 0.0, [], 0
        self.pools = [Gate(settings.pool) for _ in range(settings.replicas)]
        self.server = Gate(settings.server_connections or settings.pool * settings.replicas)
        self.cores = Gate(settings.cores)
        self.rows = [Gate(1) for _ in range(settings.hot_rows)]
        self.committing, self.is_flushing = [], False
        self.taken = {False: [], True: []}
        self.busy, self.flushes = 0.0, 0

    def run(self):
        for is_write, rate in ((False, self.settings.reads), (True, self.settings.writes)):
            if rate:
                self.at(self.exponential(1 / rate), self.arrive, is_write)
        end = self.settings.seconds
        while self.events and self.events[0][0] <= end:
            self.now, _, act, what = heapq.heappop(self.events)
            act(what)
        return self

    def at(self, delay, act, what):
        self.number += 1
        heapq.heappush(self.events, (self.now + delay, self.number, act, what))

    def exponential(self, mean):
        # Not the library's: what this prints must not change with the library.
        return -math.log(1.0 - self.random.random()) * mean

    def arrive(self, is_write):
        settings = self.settings
        rate = settings.writes if is_write else settings.reads
        self.at(self.exponential(1 / rate), self.arrive, is_write)
        replica = int(self.random.random() * settings.replicas)
        row = int(self.random.random() * settings.hot_rows) if settings.hot_rows and is_write else None
        request = Request(self.now, replica, is_write, settings.statements if is_write else 1, row)
        if self.pools[replica].enter(request):
            self.pooled(request)

    def pooled(self, request):
        if self.server.enter(request):
            self.send(request)

    def send(self, request):
        self.at(self.settings.round_trip / 2, self.received, request)

    def received(self, request):
        # The last statement of a write is the one that changes the hot row.
        if request.row is not None and request.left == 1 and not self.rows[request.row].enter(request):
            return
        self.compute(request)

    def compute(self, request):
        if self.cores.enter(request):
            self.begin(request)

    def begin(self, request):
        time = self.exponential(self.settings.write_time if request.is_write else self.settings.read_time)
        self.busy += time
        self.at(time, self.computed, request)

    def computed(self, request):
        follower = self.cores.leave()
        if follower is not None:
            self.begin(follower)
        request.left -= 1
        if request.left:
            self.at(self.settings.round_trip, self.received, request)
        elif request.is_write:
            self.at(self.settings.round_trip, self.commit, request)
        else:
            self.at(self.settings.round_trip / 2, self.answered, request)

    def commit(self, request):
        self.committing.append(request)
        if not self.is_flushing:
            self.flush()

    def flush(self):
        self.is_flushing, group, self.committing = True, self.committing, []
        self.flushes += 1
        self.at(self.settings.flush_time, self.flushed, group)

    def flushed(self, group):
        self.is_flushing = False
        for request in group:
            if request.row is not None:
                follower = self.rows[request.row].leave()
                if follower is not None:
                    self.compute(follower)
            self.at(self.settings.round_trip / 2, self.answered, request)
        if self.committing:
            self.flush()

    def answered(self, request):
        self.taken[request.is_write].append(self.now - request.begun)
        follower = self.server.leave()
        if follower is not None:
            self.send(follower)
        follower = self.pools[request.replica].leave()
        if follower is not None:
            self.pooled(follower)

    def percentile(self, is_write, share):
        """Of those that were answered, without the first fifth, while everything was empty."""
        taken = self.taken[is_write]
        taken = sorted(taken[len(taken) // 5 :])
        if not taken:
            return None
        return taken[min(len(taken) - 1, int(len(taken) * share))]

    def rate(self, is_write):
        return len(self.taken[is_write]) / self.settings.seconds

    @property
    def core_share(self):
        return self.busy / self.settings.seconds / self.settings.cores
