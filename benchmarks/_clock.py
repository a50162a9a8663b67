"""One core and its time: how every benchmark here measures, so that a busy machine changes little.

Times are of the processor, not of the wall: what others do on the machine takes none of it, and a second thread or
process would add to it.
"""

import argparse
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path


def arguments(description: str | None, paths: str | None = "texts, or folders of .txt files") -> argparse.Namespace:
    """`quick`, as every script has it, and `paths`, unless the script makes its own input."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if paths is not None:
        parser.add_argument("paths", nargs="*", metavar="PATH", help=f"{paths} (default: what this machine holds)")
    parser.add_argument("--quick", action="store_true", help="a tiny input: tries the script, measures nothing")
    return parser.parse_args()


def one_core() -> str:
    """Bind this process and its children to one core, where the system can; says so."""
    if not hasattr(os, "sched_setaffinity"):
        return "processor time, not bound to a core"
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return "processor time on one core"


def seconds() -> float:
    """Processor time so far of this process, its threads, its children that have ended, and, on Linux, those alive."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    children = [pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()]
    # clock_getcpuclockid(3): Linux's number for the clock of a process.
    alive = sum(time.clock_gettime((~int(pid) << 3) | 2) for pid in children)
    return sum(each.ru_utime + each.ru_stime for each in used) + alive


def least(call: Callable[[], object], rounds: int = 5) -> float:
    """The least of some times in seconds, since what disturbs only adds."""
    times = []
    for _ in range(rounds):
        start = seconds()
        call()
        times.append(seconds() - start)
    return min(times)


def report(name: str, ratio: float) -> None:
    """The last line of a script."""
    print(f"{name} ratio {ratio:.1f}")
