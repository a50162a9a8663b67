"""Beam's pool of Python workers for the executors of one machine: `python pool.py PORT`.

It differs from apache_beam.runners.worker.worker_pool_main in two ways. Beam's listens on every interface; this one on
127.0.0.1. Beam's keeps its workers by an id that each executor counts for itself, so that where two executors share a
pool the first to stop its worker ends the other's; here a worker ends when its executor closes the connection to it.
"""

import logging
import sys
from typing import Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
from apache_beam.utils import thread_pool_executor


class Pool(BeamFnExternalWorkerPoolServicer):
    """Starts workers as Beam's pool does, as `python -c ...` with the python that is first on PATH, and stops none."""

    def StopWorker(self, stop_worker_request: Any, unused_context: Any) -> Any:  # noqa: N802
        return beam_fn_api_pb2.StopWorkerResponse()


def main() -> None:
    """Serves until the process is ended; raises RuntimeError where the port is taken."""
    logging.basicConfig(level=logging.INFO)
    server = grpc.server(thread_pool_executor.shared_unbounded_instance(), options=[("grpc.so_reuseport", 0)])
    pool = Pool(use_process=True, data_buffer_time_limit_ms=-1)
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
