"""What every test folder shares: the real data."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no fault of the code; what hangs is stopped by pytest-timeout.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
CACHE = ROOT / ".cache" / "data"


@pytest.fixture(scope="session")
def data_dir(request: pytest.FixtureRequest) -> Path:
    """The folder of unpacked real data, one subfolder per set; skips the test where there is none.

    CURATE_TEST_DATA names the folder. Without it, the packed sets beside the repository are unpacked into .cache/data:
    those that the collected tests name in their marks, `@pytest.mark.data("warc", "books")`, or all for a bare mark.
    """
    marks = [mark for item in request.session.items for mark in item.iter_markers("data")]
    bare = not marks or any(not mark.args for mark in marks)
    sets = [] if bare else sorted({name for mark in marks for name in mark.args})
    named = os.environ.get("CURATE_TEST_DATA")
    if named:
        missing = [name for name in ["", *sets] if not Path(named, name).is_dir()]
        if missing:
            pytest.fail(f"CURATE_TEST_DATA={named} lacks the folder {Path(named, missing[0])}: unpack it or unset it")
        return Path(named)
    if not (SHARED / "unpack.sh").exists():
        pytest.skip(f"no real data: CURATE_TEST_DATA is not set and {SHARED} does not exist")
    for program in ("bash", "zstd"):
        if shutil.which(program) is None:
            pytest.skip(f"no real data: {SHARED}/unpack.sh needs {program}")
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / ".lock", "w") as lock:  # pytest-xdist runs several sessions at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(["bash", str(SHARED / "unpack.sh"), str(CACHE), *sets], check=True)
    return CACHE


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their length: compressed ones hold the time, and every worker must see the same names."""
    return f"{argname}{len(val)}" if isinstance(val, bytes) else None
