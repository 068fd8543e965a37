"""How much work there is in each group: once to be measured, and once only to see that everything works."""

import dataclasses

MIB = 1024 * 1024
GIB = 1024 * MIB
MB = 1_000_000


@dataclasses.dataclass(frozen=True)
class Scale:
    """Sizes are bytes; `seconds` is how long the same request is repeated."""

    large_blob: int
    pushed_blob: int
    parallel_blob: int
    crowd_blob: int
    through_blob: int
    small_seconds: float
    large_seconds: float
    images: int
    tags: int
    crowd: int
    crowd_pushes: int
    tls_pulls: int
    tls_requests: int
    idle_connections: int
    slow_readers: int
    slow_fills: int
    slow_seconds: tuple
    link_bytes_per_second: int
    growth: tuple
    growth_images: int
    growth_tags: int
    growth_lists: int
    counted_requests: int
    profile_seconds: float
    shared_push: int
    shared_parallel: int
    shared_pull: int
    shared_images: int
    shared_tags: int
    shared_asks: int


FULL = Scale(
    large_blob=GIB,
    pushed_blob=512 * MIB,
    parallel_blob=128 * MIB,
    crowd_blob=8 * MIB,
    through_blob=256 * MIB,
    small_seconds=2,
    large_seconds=4,
    images=2000,
    tags=10_000,
    crowd=1000,
    crowd_pushes=4,
    tls_pulls=32,
    tls_requests=60_000,
    idle_connections=2000,
    slow_readers=256,
    slow_fills=50,
    slow_seconds=(15, 45),
    link_bytes_per_second=100 * MB,
    growth=(100, 10_000, 1_000_000),
    growth_images=500,
    growth_tags=5000,
    growth_lists=5000,
    counted_requests=200,
    profile_seconds=8,
    shared_push=128 * MIB,
    shared_parallel=16 * MIB,
    shared_pull=64 * MIB,
    shared_images=100,
    shared_tags=300,
    shared_asks=100,
)

QUICK = Scale(
    large_blob=16 * MIB,
    pushed_blob=8 * MIB,
    parallel_blob=MIB,
    crowd_blob=256 * 1024,
    through_blob=4 * MIB,
    small_seconds=0.2,
    large_seconds=0.3,
    images=20,
    tags=250,
    crowd=50,
    crowd_pushes=1,
    tls_pulls=8,
    tls_requests=500,
    idle_connections=100,
    slow_readers=16,
    slow_fills=5,
    slow_seconds=(1, 2),
    link_bytes_per_second=100 * MB,
    growth=(100, 1000),
    growth_images=20,
    growth_tags=20,
    growth_lists=50,
    counted_requests=20,
    profile_seconds=1,
    shared_push=20 * MIB,
    shared_parallel=2 * MIB,
    shared_pull=8 * MIB,
    shared_images=10,
    shared_tags=50,
    shared_asks=10,
)


def size(count):
    """How a table says so many bytes."""
    return f"{count // GIB} GiB" if count >= GIB else f"{count // MIB} MiB"
