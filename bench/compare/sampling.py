"""Where a server's processor time goes: samples of perf, sorted into a few kinds of work."""

import collections
import re
import subprocess

FREQUENCY = 997

# Of what the kernel did, by the first function from the inside that one of these recognises.
KERNEL = [
    (
        "copying between kernel and program",
        re.compile(
            r"copy_(to|from)_(user|iter)|copy_folio_from_iter|copy_page_(to|from)|rep_movs|copyin|copyout|copy_user"
        ),
    ),
    (
        "network",
        re.compile(
            r"^_*(tcp|ip|ipv4|inet|sk|skb|sock|net|netif|loopback|dev|napi|nf|udp|kfree_skb|process_backlog|release_sock)_"
        ),
    ),
    (
        "page cache and disk",
        re.compile(
            r"filemap|ext4|jbd2|folio|splice|shmem|generic_perform_write|writeback|fsync|sync_file|do_sys_open|path_|dentry|fput"
            r"|^_*(page|pagevec|lru|xas|xa|find_get|get_page|put_page|submit_bio|blk|bio|virtblk|vfs|iomap|wb|alloc_pages)"
            r"|^_*(free_unref|clear_page)"
        ),
    ),
    (
        "waiting and waking",
        re.compile(r"schedul|futex|wake|epoll|^ep_|eventfd|^do_(poll|select)|finish_task_switch|hrtimer|nanosleep"),
    ),
]
KERNEL_OTHER = "entering and leaving the kernel, and the rest of it"

# Of what the program did, by the crate of the innermost function, or by its name where it has no crate.
CRATES = {
    "sha2": "hashing",
    "sha1": "hashing",
    "digest": "hashing",
    "rusqlite": "SQLite",
    "hyper": "HTTP",
    "hyper_util": "HTTP",
    "http": "HTTP",
    "http_body": "HTTP",
    "http_body_util": "HTTP",
    "httparse": "HTTP",
    "h2": "HTTP",
    "axum": "HTTP",
    "axum_core": "HTTP",
    "tower": "HTTP",
    "tower_http": "HTTP",
    "tower_service": "HTTP",
    "matchit": "HTTP",
    "tokio": "tokio",
    "mio": "tokio",
    "tokio_util": "tokio",
    "futures_util": "tokio",
    "futures_core": "tokio",
    "parking_lot": "tokio",
    "tracing": "tracing",
    "tracing_core": "tracing",
    "tracing_subscriber": "tracing",
}
NAMES = [
    ("SQLite", re.compile(r"^(sqlite3|sql|btree|pcache|wal|unix|vdbe|pager|seek|moveTo|balance|cell)", re.IGNORECASE)),
    (
        "allocator",
        re.compile(
            r"malloc|calloc|realloc|^_*(cfree|free)\b|_int_free|tcache|unlink_chunk|rdl_(de|re)?alloc|rust_(de|re)?alloc"
        ),
    ),
    ("copying in the program", re.compile(r"^_*(memcpy|memmove|memset|memcmp|bcmp)")),
    ("hashing", re.compile(r"sha(1|2|256|512)", re.IGNORECASE)),
]
PROGRAM_OTHER = "the program's rest: standard library and what is inlined from it"
OWN = "our own code"

STANDARD = {"core", "std", "alloc", "bytes", "hashbrown", "smallvec", "memchr", "indexmap", "fnv", "itoa"}
# The first part of a path, not those behind it.
CRATE = re.compile(r"(?<![\w:])([a-z_][a-z0-9_]*)::")
FRAME = re.compile(r"^\s+[0-9a-f]+ (.+?)(?:\+0x[0-9a-f]+)? \((.*)\)$")

# In the order of the table.
KINDS = [name for name, _ in KERNEL] + [
    KERNEL_OTHER,
    "hashing",
    "SQLite",
    "HTTP",
    "tokio",
    "tracing",
    OWN,
    "copying in the program",
    "allocator",
    PROGRAM_OTHER,
]


def record(pid, seconds, file):
    """Lets perf watch a process, and returns the stacks that it saw: lists of functions with their files, the innermost
    first."""
    words = ["perf", "record", "--quiet", "--event", "cpu-clock", "--freq", str(FREQUENCY), "-g", "--pid", str(pid)]
    # The time begins when perf is ready.
    words += ["--output", file, "--", "sleep", str(seconds)]
    recorded = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    words = ["perf", "script", "--no-inline", "--fields", "ip,sym,dso", "--input", file]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    found = list(stacks(done.stdout.splitlines()))
    if not found:
        raise RuntimeError(f"perf saw nothing: {recorded.stderr}{done.stderr}")
    return found


def stacks(lines):
    stack = []
    for line in lines:
        frame = FRAME.match(line)
        if frame:
            stack.append(frame.groups())
        elif stack:
            yield stack
            stack = []
    if stack:
        yield stack


def shares(found):
    """The share of each kind of work, in percent."""
    counts = collections.Counter(kind_of(stack) for stack in found)
    return {kind: counts[kind] / len(found) * 100 for kind in KINDS}


def most(found, count):
    """The innermost functions that were seen most often, with their shares and kinds."""
    counts = collections.Counter((stack[0][0], kind_of(stack)) for stack in found)
    return [(name, kind, seen / len(found) * 100) for (name, kind), seen in counts.most_common(count)]


def is_kernel(file):
    return file.startswith("[kernel") or file.startswith("[guest.kernel")


def kind_of(stack):
    name, file = stack[0]
    if is_kernel(file):
        inside = [function for function, place in stack if is_kernel(place)]
        for function in inside:
            for kind, pattern in KERNEL:
                if pattern.search(function):
                    return kind
        return KERNEL_OTHER
    for crate in CRATE.findall(name):
        if crate in CRATES:
            return CRATES[crate]
        if crate.startswith("entrepot"):
            return OWN
        if crate not in STANDARD:
            break
    for kind, pattern in NAMES:
        if pattern.search(name):
            return kind
    return PROGRAM_OTHER
