"""A worker process of a local run: Beam's own harness, but quiet, and gone when the run is gone, however it ends."""

import contextlib
import ctypes
import logging
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2)
_FIRST = b"600"  # proc(5), oom_score_adj: of two processes that are as large, this one


def main() -> None:
    """Serve until the runner hangs up."""
    if sys.platform == "linux":
        # A killed run leaves no orphans; elsewhere they end when they next ask their runner for work.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # Where memory runs out it is a worker that goes, which the run survives, and not the run.
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "wb") as file:  # a sealed /proc
            file.write(_FIRST)
    logging.basicConfig()
    for handler in logging.getLogger().handlers:
        handler.setLevel(logging.ERROR)  # of the handler, since the harness sets the root logger to INFO
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
    main()
