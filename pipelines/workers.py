"""The worker processes of a local job, which live and die together.

Beam's own keeper of worker processes waits for ever for one that was killed, and lets the others work on for hours.
Here the first that is lost ends the job at once, with a word on how; the run then does what is missing.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
from typing import Any, Self

import grpc  # type: ignore[import-untyped]
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner.worker_handlers import GrpcWorkerHandler, WorkerHandler
from apache_beam.transforms.environments import SubprocessSDKEnvironment
from google.protobuf import json_format, text_format  # type: ignore[import-untyped]

LOOK_SECONDS = 0.2


class Crew:
    """The workers of one job, for as long as the block lasts. `lost` says how the first of them died, if one did."""

    def __init__(self) -> None:
        self.lost = ""
        self._workers: list[_Worker] = []
        self._lock = threading.Lock()
        self._hook = threading.excepthook

    def __enter__(self) -> Self:
        # Of a channel that broke with its worker Beam tells in pages what `lost` says in a line.
        logging.getLogger("apache_beam.runners.worker.data_plane").setLevel(logging.CRITICAL)
        threading.excepthook = self._hear
        return self

    def __exit__(self, *error: object) -> None:
        threading.excepthook = self._hook

    def _hear(self, args: threading.ExceptHookArgs) -> None:
        """Of a thread that ends by an error. Beam's readers do when the worker that they read from is gone."""
        if not issubclass(args.exc_type, grpc.RpcError):
            self._hook(args)

    def environment(self) -> SubprocessSDKEnvironment:
        """For a runner of this process: from here on its worker processes belong to this crew."""

        def join(*parts: Any) -> _Worker:
            worker = _Worker(self, *parts)
            self._workers.append(worker)
            return worker

        WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)(join)
        return SubprocessSDKEnvironment.from_command_string("pipelines.worker")

    def lose(self, code: int) -> None:
        """One has died: end all, and tell Beam so."""
        with self._lock:
            if self.lost:
                return
            self.lost = f"a worker process died, {manner(code)}"
        for worker in list(self._workers):
            worker.end(self.lost)


class _Worker(GrpcWorkerHandler):
    """One process, and a thread that waits for its end."""

    def __init__(self, crew: Crew, module: bytes, state: Any, provision_info: Any, grpc_server: Any) -> None:
        super().__init__(state, provision_info, grpc_server)
        self._crew, self._module = crew, module.decode()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = threading.Event()
        self._watch = threading.Thread(name="watch_worker", target=self._wait, daemon=True)

    def start_worker(self) -> None:
        address = text_format.MessageToString(self.control_api_service_descriptor())
        options = json_format.MessageToJson(self.provision_info.provision_info.pipeline_options)
        told = {"CONTROL_API_SERVICE_DESCRIPTOR": address, "PIPELINE_OPTIONS": options, "WORKER_ID": self.worker_id}
        self._process = subprocess.Popen([sys.executable, "-m", self._module], env=os.environ | told)
        self._watch.start()

    def _wait(self) -> None:
        assert self._process is not None
        if code := self._process.wait():
            self._crew.lose(code)

    def end(self, why: str) -> None:
        """Kill the process; every answer that Beam waits for from it, or will, is `why`."""
        if self._process is not None:
            self._process.kill()
        threading.Thread(name="answer_for_worker", target=self._answer, args=(why,), daemon=True).start()

    def _answer(self, why: str) -> None:
        error = beam_fn_api_pb2.InstructionResponse(error=why)
        while True:
            for future in list(self.control_conn._futures_by_id.values()):
                if not future.is_done():
                    future.set(error)
            if self._closed.wait(LOOK_SECONDS):
                return

    def close(self) -> None:
        try:
            super().close()
        except grpc.RpcError:
            if not self._crew.lost:  # else it is by its process's death that the channel broke
                raise
        finally:
            self.stop_worker()

    def stop_worker(self) -> None:
        self._closed.set()
        if self._process is not None:
            self._watch.join()


def manner(code: int) -> str:
    """A process's end in words, by its return code."""
    if code >= 0:
        return f"with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    return f"killed by {name}" + (", by a system short of memory, say" if -code == signal.SIGKILL else "")
