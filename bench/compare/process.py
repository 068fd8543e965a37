"""What the kernel says of a server's processes: of the one that was started, and of its children."""

import os
import pathlib
import socket


def tree(pid):
    """The process and all that it started."""
    pids, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        pids.append(one)
        for task in pathlib.Path(f"/proc/{one}/task").glob("*/children"):
            try:
                waiting += [int(word) for word in task.read_text().split()]
            except OSError:
                # A thread that has ended meanwhile.
                pass
    return pids


def processor_seconds(pids):
    """User and system time."""
    ticks = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def ended_children_seconds(pid):
    """User and system time of those children that have ended and were waited for."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pids, which):
    """`VmRSS`, the resident memory now, or `VmHWM`, the most that it ever was. What processes share counts for each of
    them."""
    return sum(int(line(pid, "status", f"{which}:")) for pid in pids) / 1024


def forget_peak(pids):
    """Lets `VmHWM` begin anew."""
    for pid in pids:
        pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")


def bytes_read(pids):
    """What the processes have read by system calls, from files and sockets; `sendfile` counts."""
    return sum(int(line(pid, "io", "rchar:")) for pid in pids)


def line(pid, file, start):
    lines = pathlib.Path(f"/proc/{pid}/{file}").read_text().splitlines()
    found = next((one for one in lines if one.startswith(start)), None)
    if not found:
        raise RuntimeError(f"process {pid} has ended")
    return found.split()[1]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
