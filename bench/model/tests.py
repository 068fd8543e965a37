"""Tests of the model: against what is known of queues, of B-trees, and of itself."""

import math
import unittest

import capacity
import inputs as known
import operations as ops
import tables
from simulation import Gate, Settings, Simulation

BENCHMARKS = """
| work | | Entrepôt | docker-registry |
| --- | --- | ---: | ---: |
| pull | speed, MB/s | 8,994 | 2,990 |
| … | server's processor, s/GiB | 0.12 | 0.36 |
| push | speed, MB/s | 871 | 199 |
"""


def changed(**values):
    inputs = known.read()
    for name, value in values.items():
        inputs[name].value = value
    return inputs


def erlang_c(servers, load):
    """The share of those who wait in M/M/c."""
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    return last / (sum(load**k / math.factorial(k) for k in range(servers)) + last)


class Inputs(unittest.TestCase):
    def test_figures_are_found_by_their_work_and_label(self):
        self.assertEqual(known.benchmark(BENCHMARKS, "pull", "speed"), 8994)
        self.assertEqual(known.benchmark(BENCHMARKS, "pull", "server's processor"), 0.12)
        with self.assertRaises(ValueError):
            known.benchmark(BENCHMARKS, "push", "server's processor")

    def test_every_cell_that_an_input_names_is_to_be_measured(self):
        cells = {cell for cell, *_ in known.CELLS}
        for name, one in known.read().items():
            self.assertTrue(one.cell is None or one.cell in cells, name)
            self.assertIn(one.source, (known.MEASURED, known.COUNTED, known.DOCUMENTED, known.ASSUMED))

    def test_cells_are_read_from_the_page_in_their_own_units(self):
        page = f"| {known.TAGS} | PostgreSQL's processor, µs each | 3,000 | – |\n| … | statements to PostgreSQL, each | 1.50 | – |"
        self.assertAlmostEqual(known.measurement(page, "M2"), 2.0)
        self.assertIsNone(known.measurement(page, "M9"))
        with self.assertRaises(ValueError):
            known.measurement(page, "M1")

    def test_every_input_changes_something(self):
        inputs = known.read()
        before = deterministic(inputs)
        for name, one in inputs.items():
            value, one.value = one.value, one.value * 2
            self.assertTrue(deterministic(inputs) != before, f"nothing depends on {name}")
            one.value = value


def deterministic(inputs):
    """All tables but the inputs', with as little simulated as shows a difference."""
    small = Settings(inputs, 2, 2000, 2000, seconds=0.05)
    run = Simulation(small).run()
    parts = [tables.operations_table, tables.replica_table, tables.fleet_table, tables.data_table, tables.fan_out_table, tables.parts_table]
    return [part(inputs) for part in parts] + [run.percentile(False, 0.5), run.percentile(True, 0.5)]


class Operations(unittest.TestCase):
    def test_a_push_as_the_engine_does_it_is_four_requests_and_one_commit_that_waits(self):
        one = ops.blob_staged(known.read(), 40)
        self.assertEqual((one.requests, one.commits), (4, 1))
        # Two full parts, the tail that becomes the third, and what begins, closes and names the upload.
        self.assertEqual(one.puts, 2 + 1 + 6)
        self.assertEqual(ops.blob_staged(known.read(), 3).puts, 2)

    def test_reading_never_writes_and_nothing_lists(self):
        for one in ops.listed(known.read()):
            if one.name.startswith(("GET", "HEAD", "pull", "a page")):
                self.assertEqual((one.writes, one.commits, one.puts, one.deletes), (0, 0, 0, 0), one.name)

    def test_a_manifest_costs_no_more_statements_with_more_layers(self):
        inputs = known.read()
        self.assertEqual(ops.manifest(inputs, 2).statements, ops.manifest(inputs, 200).statements)


class Capacity(unittest.TestCase):
    def test_a_fleet_is_as_many_times_one_replica(self):
        one, many = capacity.Fleet(known.read(), 1), capacity.Fleet(known.read(), 100)
        self.assertAlmostEqual(many.load.statements, 100 * one.load.statements)
        self.assertAlmostEqual(many.deliveries, 100 * 100 * one.deliveries)

    def test_an_index_is_as_large_as_that_of_postgresql(self):
        # CREATE INDEX on a million of bigints: 2,745 pages, 21 MB, three levels.
        index = capacity.Index(changed(fill_factor=0.9), "", 1_000_000, 8)
        self.assertAlmostEqual(index.bytes / 8192, 2745, delta=60)
        self.assertEqual(index.depth, 3)

    def test_the_depth_of_an_index_grows_with_the_logarithm(self):
        depths = [capacity.Index(known.read(), "", 10**power, 79).depth for power in range(1, 11)]
        self.assertEqual(depths, sorted(depths))
        self.assertLessEqual(depths[-1], 6)

    def test_a_chain_is_never_slower_than_a_star_by_more_than_its_steps(self):
        for replicas in (2, 3, 10, 100, 1000):
            one = capacity.FanOut(known.read(), replicas, 1 << 28, 1e8)
            self.assertLessEqual(one.chain(4), one.star() + 0.05)
            self.assertGreaterEqual(one.star(), one.fetch)


class Queues(unittest.TestCase):
    def test_look_ups_wait_as_erlang_says(self):
        inputs = changed(database_cores=4, read_time=1.0, round_trip=0.0, connections=100_000)
        rate, servers, service = 3200, 4, 0.001
        run = Simulation(Settings(inputs, 1, rate, 0, seconds=20.0), seed=7).run()
        taken = run.taken[False]
        load = rate * service
        expected = service + erlang_c(servers, load) * service / (servers - load)
        self.assertAlmostEqual(sum(taken) / len(taken), expected, delta=0.1 * expected)
        self.assertAlmostEqual(run.core_share, load / servers, delta=0.02)

    def test_commits_share_flushes(self):
        run = Simulation(Settings(known.read(), 100, 0, 8000, statements=2, seconds=1.0)).run()
        self.assertGreater(run.rate(True), 7500)
        self.assertLess(run.flushes, 1001)

    def test_what_changes_one_row_passes_one_by_one(self):
        inputs = known.read()
        settings = dict(statements=2, server_connections=128, seconds=1.0)
        one = Simulation(Settings(inputs, 100, 0, 8000, hot_rows=1, **settings)).run().rate(True)
        many = Simulation(Settings(inputs, 100, 0, 8000, hot_rows=64, **settings)).run().rate(True)
        # Each holds the row at least until a flush is over that has begun after it came.
        self.assertLess(one, 1000 / inputs["flush_time"].value)
        self.assertGreater(many, 5 * one)

    def test_a_gate_lets_in_so_many_and_keeps_the_order(self):
        gate = Gate(2)
        self.assertEqual([gate.enter(who) for who in "abcd"], [True, True, False, False])
        self.assertEqual([gate.leave(), gate.leave(), gate.leave(), gate.leave()], ["c", "d", None, None])
        self.assertEqual(gate.inside, 0)

    def test_the_same_seed_gives_the_same_figures(self):
        runs = [Simulation(Settings(known.read(), 10, 5000, 100, seconds=0.2)).run().taken for _ in range(2)]
        self.assertEqual(runs[0], runs[1])


class Tables(unittest.TestCase):
    def test_a_table_is_put_between_its_marks_and_nothing_else_changes(self):
        page = "before\n<!-- x: bench/model/run -->\nold\n<!-- end of x -->\nafter\n"
        self.assertEqual(tables.publish("new\n", page, "x"), page.replace("old", "new"))
        with self.assertRaises(ValueError):
            tables.publish("new\n", page, "y")

    def test_figures_keep_the_digits_that_count(self):
        self.assertEqual([tables.number(value) for value in (0, 0.01234, 1.5, 99.95, 1234.5)], ["0", "0.0123", "1.5", "100", "1,234"])
        self.assertEqual(tables.size(3 << 29), "1.5 GiB")
