"""One rate of requests for each host, shared by all threads and processes of this machine.

The rate is kept as TCP keeps its window (AIMD: Chiu and Jain 1989): a request that succeeds raises it by a little, one
that the server would rather not have had halves it. It lives in a small file of the machine's temporary folder, changed
under a lock, so that any number of workers here are one client to a server. Machines do not know of each other.
"""

import contextlib
import fcntl
import math
import os
import re
import struct
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

from curate.errors import InputError

RECOVERY = 60.0  # seconds in which the rate climbs from nothing to its ceiling
LOWEST = 1e-3  # of the ceiling
LONGEST_PAUSE = 300.0  # seconds that are waited because a server asks for it
FORGOTTEN = 86400.0  # seconds ahead, beyond which a time is none that was ever set
_STATE = struct.Struct("<4d")


@dataclass(slots=True)
class _State:
    """Times are those of the monotonic clock, which the processes of a machine share."""

    turn: float  # when the next request may be sent
    rate: float  # requests a second
    cut: float  # when the rate was last halved
    pause: float  # before which nothing may be sent


class PausedError(Exception):
    """The server asked for a pause that is too long to be waited; `seconds` of it are left."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"its server asks to wait {seconds:.0f} s")
        self.seconds = seconds


class Pace:
    """The turns of one host. `ceiling`: requests a second at most, from all that share it."""

    def __init__(self, host: str, ceiling: float) -> None:
        self._ceiling = ceiling
        self._path = os.path.join(_folder(), re.sub(r"[^\w.-]", "_", host))

    def take(self) -> float:
        """Wait for a turn; returns when it came.

        Raises:
            PausedError: if nothing may be sent for longer than `LONGEST_PAUSE`.
        """
        while True:
            with self._state() as state:
                now = time.monotonic()
                if state.pause - now > LONGEST_PAUSE:
                    raise PausedError(state.pause - now)
                turn = max(now, state.turn, state.pause)
                state.turn = turn + 1 / state.rate
            time.sleep(turn - now)
            with self._state() as state:
                if state.pause <= turn:  # else somebody was told to wait while this one slept
                    return turn

    def succeeded(self) -> None:
        with self._state() as state:
            state.rate = min(self._ceiling, 2 * state.rate, state.rate + self._ceiling / RECOVERY / state.rate)

    def throttled(self, sent: float, pause: float = 0.0) -> None:
        """The request sent at that time was refused; `pause`: the seconds that the server asked for.

        Requests sent before the rate was last halved say nothing new about it.
        """
        with self._state() as state:
            now = time.monotonic()
            state.pause = max(state.pause, now + min(pause, FORGOTTEN))
            if sent >= state.cut:
                state.rate, state.cut = max(LOWEST * self._ceiling, state.rate / 2), now

    def rate(self) -> float:
        """Requests a second as things stand."""
        with self._state() as state:
            return state.rate

    @contextlib.contextmanager
    def _state(self) -> Iterator[_State]:
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            state = self._sound(os.pread(file, _STATE.size, 0))
            yield state
            os.pwrite(file, _STATE.pack(state.turn, state.rate, state.cut, state.pause), 0)
        finally:
            os.close(file)  # and the lock with it

    def _sound(self, data: bytes) -> _State:
        """The state as read, or a fresh one: the file is new, or older than the machine's last start."""
        now = time.monotonic()
        if len(data) == _STATE.size:
            state = _State(*_STATE.unpack(data))
            times = (state.turn, state.cut, state.pause)
            if state.rate > 0 and all(math.isfinite(t) and t <= now + FORGOTTEN for t in times):
                state.rate = min(max(state.rate, LOWEST * self._ceiling), self._ceiling)
                return state
        return _State(now, self._ceiling, 0.0, 0.0)


def _folder() -> str:
    """The folder of the rates: this user's alone."""
    path = os.path.join(tempfile.gettempdir(), f"curate-pace-{os.getuid()}")
    os.makedirs(path, mode=0o700, exist_ok=True)
    if os.lstat(path).st_uid != os.getuid():
        raise InputError(f"{path} belongs to somebody else: remove it, or set TMPDIR to a folder of your own")
    return path
