"""The door to the network: whatever a server does, the bytes read are the file's, or an error says what it did."""

import io
import itertools
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate import storage, stream
from curate.errors import InputError, UsageError
from pipelines import fetch, web
from pipelines.cache import Cache
from pipelines.fetch import Door, Fetch, FetchError, Remote
from pipelines.pace import Pace

QUICK = Fetch(requests_per_second=5000, tries=4, timeout=0.4, first_wait=0.001)
PATIENT = Fetch(requests_per_second=5000, tries=20, timeout=0.15, first_wait=1e-6)
DATA = bytes(range(256)) * 40

PASSING = ("403", "429", "429 0", "500", "502", "503", "nothing", "garbage", "truncate", "reset", "stall", "drip")
LYING = ("whole", "long", "short", "elsewhere", "total", "none", "away")


def remote(faulty: Any, name: str = "/file", manners: Fetch = QUICK) -> Remote:
    return Remote(Door(manners), faulty.address + name)


@pytest.mark.parametrize("fault", PASSING + LYING)
def test_one_fault(faulty: Any, fault: str) -> None:
    faulty.files["/file"] = DATA
    faulty.faults = ["", fault]
    found = remote(faulty)
    assert found.read(10, 1000) == DATA[10:1000]
    assert found.read(1000, 9000) == DATA[1000:9000]
    assert not faulty.faults
    assert found.read(9000, 20_000) == DATA[9000:]


@pytest.mark.parametrize("fault", ["truncate", "reset", "stall", "short"])
def test_a_range_is_resumed_at_the_byte_reached(faulty: Any, fault: str) -> None:
    faulty.files["/file"] = DATA
    faulty.faults = [fault]
    assert remote(faulty).read(100, 1100) == DATA[100:1100]
    (_, first), (_, second) = faulty.seen
    assert first == "bytes=100-1099"
    assert second == "bytes=600-1099" or (fault == "reset" and second.endswith("-1099"))  # a reset may outrun its bytes


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=5000).map(lambda data: data * 3),
    faults=st.lists(st.sampled_from(("", *PASSING, *LYING)), max_size=12),
    reads=st.lists(st.tuples(st.integers(0, 16_000), st.integers(0, 4000)), max_size=6),
)
def test_any_schedule_of_faults(serving: Any, data: bytes, faults: list[str], reads: list[tuple[int, int]]) -> None:
    """Seeks and reads through the file system give what the file gives."""
    serving.reset()
    serving.files["/file"], serving.drip = data, 0.0002
    serving.faults = list(faults)
    with web.Web(manners=PATIENT, skip_instance_cache=True).open(f"{serving.address}/file") as file:
        plain = io.BytesIO(data)
        for offset, size in reads:
            assert file.seek(offset) == plain.seek(offset)
            assert file.read(size) == plain.read(size)
        file.seek(0)
        assert file.read() == data
        assert file.seek(0, io.SEEK_END) == len(data)


def test_blocks_grow_while_the_reading_goes_on(faulty: Any) -> None:
    data = os.urandom(1 << 10) * 5000
    faulty.files["/file"] = data
    with web.Web(manners=QUICK, skip_instance_cache=True).open(f"{faulty.address}/file") as file:
        assert b"".join(iter(lambda: file.read(100_000), b"")) == data
    sizes = [int(last) - int(first) + 1 for _, asked in faulty.seen for first, last in [asked[6:].split("-")]]
    assert sizes[:4] == [stream.FIRST << step for step in range(4)]
    assert faulty.sent == len(data)


# ---- what no try mends


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("403", r"byte 5: given up after 4 tries without progress: its server answers Forbidden \(status 403\).*later"),
        ("503", r"Service Unavailable \(status 503\)"),
        ("nothing", "RemoteDisconnected"),
        ("garbage", "BadStatusLine|ProtocolError"),
        ("stall", "Read timed out|ReadTimeoutError"),
        ("elsewhere", "asked for bytes from 5 on, its server answers Content-Range 'bytes 3-"),
        ("none", "asked for bytes from 5 on, its server has none"),
        ("loop", "more than 5 redirects"),
        ("401", "answers 401 Unauthorized: correct the address"),
        ("429 4000", r"byte 5: its server asks to wait \d{4} s: run the same command then"),
    ],
)
def test_a_server_that_does_not_mend(faulty: Any, fault: str, words: str) -> None:
    faulty.files["/file"] = DATA[:6]
    faulty.forever = fault
    with pytest.raises(FetchError, match=words) as raised:
        remote(faulty).read(5, 6)
    assert f"{faulty.address}/file" in str(raised.value)


def test_a_drip_is_no_progress(faulty: Any) -> None:
    faulty.files["/file"] = DATA
    faulty.forever, faulty.drip = "drip", 0.06
    manners = Fetch(requests_per_second=5000, tries=2, timeout=0.1, first_wait=0.001)
    with pytest.raises(FetchError, match=r"given up after 2 tries.*only \d+ bytes came"):
        remote(faulty, manners=manners).read(0, 5000)


def test_progress_starts_the_count_anew(faulty: Any) -> None:
    """Halves of what is left: more answers than tries, and each brings bytes."""
    faulty.files["/file"] = DATA
    faulty.forever = "truncate"
    with pytest.raises(FetchError, match="byte 1023: given up after 4 tries"):
        remote(faulty).read(0, 1024)
    assert len(faulty.seen) == 10 + 4


def test_a_large_file_from_a_server_that_ignores_ranges(faulty: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "WHOLE", 1000)
    faulty.files["/file"] = DATA
    faulty.forever = "whole"
    with pytest.raises(FetchError, match=r"ignores byte ranges, and the file has 10240 bytes.*at most 1000"):
        remote(faulty).read(0, 10)
    faulty.files["/file"] = DATA[:1000]
    found = remote(faulty)
    assert found.read(3, 5) + found.read(990, 2000) == DATA[3:5] + DATA[990:1000]


def test_a_file_that_changes(faulty: Any) -> None:
    faulty.files["/file"] = DATA
    found = remote(faulty)
    assert found.read(0, 10) == DATA[:10]
    faulty.files["/file"] = DATA[::-1]
    with pytest.raises(FetchError, match="changed while it was read"):
        found.read(10, 20)
    fs = web.Web(manners=QUICK, skip_instance_cache=True)
    assert fs.cat_file(f"{faulty.address}/file", 0, 10) == DATA[::-1][:10]
    faulty.files["/file"] = DATA
    with pytest.raises(FetchError, match="changed while it was read"):
        fs.cat_file(f"{faulty.address}/file", 10, 20)
    assert fs.cat_file(f"{faulty.address}/file", 10, 20) == DATA[10:20]  # by whoever asks anew


def test_what_is_not_there(faulty: Any) -> None:
    fs = web.Web(manners=QUICK, skip_instance_cache=True)
    assert not fs.exists(f"{faulty.address}/none")
    with pytest.raises(FileNotFoundError):
        fs.cat_file(f"{faulty.address}/none", 0, 10)
    faulty.files["/empty"] = b""
    assert fs.size(f"{faulty.address}/empty") == 0
    assert fs.cat_file(f"{faulty.address}/empty") == b""
    faulty.files["/file"] = DATA
    assert fs.cat_file(f"{faulty.address}/file") == DATA
    faulty.forever = "403"
    with pytest.raises(FetchError):  # not known to be missing
        fs.exists(f"{faulty.address}/file")
    with pytest.raises(InputError, match="web servers list nothing"):
        fs.glob(f"{faulty.address}/*.gz")
    with pytest.raises(FetchError, match="no URL"):
        Remote(Door(QUICK), "http://[::1").read(0, 1)


def test_every_reader_takes_this_door(faulty: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsspec.config, "conf", dict(fsspec.config.conf))
    faulty.files["/file"] = DATA
    faulty.faults = ["503", "truncate"]
    web.install(replace(QUICK, contact="a@b.c"))
    path = f"{faulty.address}/file"
    before = fetch.counts()
    assert storage.exists(path)
    assert storage.size(path) == len(DATA)
    assert stream.stored(path, 5, 50) == DATA[5:50]
    with storage.open_input(path) as file:
        assert file.read() == DATA
    assert storage.state(path) == storage.state(path)
    counted = fetch.counts() - before
    assert counted["fetch_retries"] == 2
    assert counted["fetch_bytes"] >= len(DATA)
    assert any(agent.startswith("curate-pretrain/") and agent.endswith("(a@b.c)") for agent in faulty.agents)
    assert fsspec.config.conf["s3"]["config_kwargs"]["retries"]["mode"] == "adaptive"


@pytest.mark.parametrize(
    "value", [{"tries": 0}, {"timeout": 0.0}, {"requests_per_second": -1.0}, {"crawls": ""}, {"contact": "a\nb"}]
)
def test_settings_out_of_range(value: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(value))):
        Fetch(**value)


def test_nobody_asks_while_the_server_wants_a_long_pause(faulty: Any) -> None:
    faulty.files["/file"] = DATA
    faulty.faults = ["503 4000"]
    for _ in range(3):
        with pytest.raises(FetchError, match="asks to wait"):
            remote(faulty).read(0, 10)
    assert len(faulty.seen) == 1


# ---- the rate of a host


def test_the_rate_is_halved_once_for_what_was_sent_before(serving: Any) -> None:
    pace = Pace("halved", 100.0)
    sent = [pace.take() for _ in range(5)]
    assert all(later - earlier >= 0.01 - 1e-6 for earlier, later in itertools.pairwise(sent))
    for one in sent:
        pace.throttled(one)
    assert pace.rate() == 50.0
    pace.throttled(time.monotonic())
    assert pace.rate() == 25.0
    pace.succeeded()
    assert 25.0 < pace.rate() < 26.0
    for _ in range(1000):
        pace.throttled(time.monotonic())
    assert pace.rate() == pytest.approx(0.1)
    for _ in range(4000):
        pace.succeeded()
    assert pace.rate() == 100.0


def test_all_wait_while_the_server_asks_for_it(serving: Any) -> None:
    pace, turns = Pace("paused", 1e5), []
    now = time.monotonic()
    pace.throttled(now, 0.2)
    threads = [threading.Thread(target=lambda: turns.append(Pace("paused", 1e5).take())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(turn >= now + 0.2 for turn in turns)


def test_processes_share_the_rate(serving: Any) -> None:
    code = "import time\nfrom pipelines.pace import Pace\nPace('shared', 80.0).throttled(time.monotonic())"
    pace = Pace("shared", 80.0)
    folder = str(Path(pace._path).parents[1])
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "TMPDIR": folder})
    assert pace.rate() == 40.0


@pytest.mark.parametrize("data", [b"", b"x", b"\xff" * 32, bytes(32)])
def test_a_state_that_is_none(serving: Any, data: bytes) -> None:
    pace = Pace("unsound", 7.0)
    Path(pace._path).write_bytes(data)
    assert pace.take() <= time.monotonic()
    assert pace.rate() == 7.0


# ---- the cache


def test_what_is_cached_is_not_fetched_again(faulty: Any, tmp_path: Path) -> None:
    faulty.files["/file"] = DATA
    manners = Fetch(requests_per_second=5000, first_wait=0.001, cache=str(tmp_path / "cache"))
    assert remote(faulty, manners=manners).read(100, 5000) == DATA[100:5000]
    sent = faulty.sent
    before = fetch.counts()
    assert remote(faulty, manners=manners).read(100, 5000) == DATA[100:5000]
    assert faulty.sent == sent + 1  # whether the file is still the same
    assert (fetch.counts() - before)["fetch_cached_bytes"] == 4900
    faulty.files["/file"] = DATA[::-1]
    assert remote(faulty, manners=manners).read(100, 5000) == DATA[::-1][100:5000]


def test_the_cache_is_bounded_and_the_oldest_goes_first(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path), 10_000)
    for number in range(40):
        cache.put("url", "tag", number, number + 1, bytes([number]) * 1000)
        assert cache.get("url", "tag", 0, 1) == bytes(1000)  # used all the time: it stays
        if number == 0:
            os.utime(next(path for path in tmp_path.rglob("*") if len(path.name) == 64), ns=(1, 1))
            assert cache.get("url", "tag", 0, 1)
        assert sum(path.stat().st_size for path in tmp_path.rglob("*") if len(path.name) == 64) <= 10_000
    assert cache.get("url", "tag", 39, 40) == bytes([39]) * 1000
    assert cache.get("url", "tag", 5, 6) is None
    cache.put("url", "tag", 99, 100, bytes(9990))  # would leave room for nothing else
    assert cache.get("url", "tag", 99, 100) is None


def test_a_damaged_entry_is_none(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path), 1 << 20)
    cache.put("url", "tag", 0, 9, b"123456789")
    (path,) = [path for path in tmp_path.rglob("*") if len(path.name) == 64]
    path.write_bytes(path.read_bytes()[:-1])
    assert cache.get("url", "tag", 0, 9) is None
    cache.put("url", "tag", 0, 9, b"123456789")
    assert cache.get("url", "tag", 0, 9) == b"123456789"
    assert cache.get("url", "other", 0, 9) is None


def test_many_use_the_cache_at_once(tmp_path: Path) -> None:
    wrong: list[int] = []

    def work() -> None:
        cache = Cache(str(tmp_path), 40_000)
        for number in range(150):
            cache.put("url", "tag", number % 60, 0, bytes([number % 60]) * 1000)
            found = cache.get("url", "tag", number * 7 % 60, 0)
            if found is not None and found != bytes([number * 7 % 60]) * 1000:
                wrong.append(number)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= 41_000 + 4 * 1016


def test_the_cache_is_local() -> None:
    with pytest.raises(UsageError, match="name a local folder"):
        Cache("s3://bucket/cache", 1)
