"""A worker process of a local run: Beam's own harness, but quiet, and gone when the run is gone, however it ends."""

import ctypes
import logging
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> None:
    """Serve until the runner hangs up."""
    if sys.platform == "linux":
        # A killed run leaves no orphans; elsewhere they end when they next ask their runner for work.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    logging.basicConfig()
    for handler in logging.getLogger().handlers:
        handler.setLevel(logging.ERROR)  # of the handler, since the harness sets the root logger to INFO
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
    main()
