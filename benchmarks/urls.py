"""URL rules on a batch, beside plain Python: a set of hosts, each URL's host and the domains above looked up in it.

    python benchmarks/urls.py [PATH ...]

PATH is a file of URLs, one a line; by default they are made up, one in fifty of a listed host. The list holds a million
made-up hosts. Ours also looks for words and IP addresses in all URLs, and normalises those that are spelt oddly; plain
Python does the host alone, by urllib.
"""

from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
from _clock import arguments, least, one_core, report

from curate import blocklist, draw
from curate.blocklist import Blocker, BlockList

HOSTS, URLS, QUICK = 1_000_000, 200_000, 1_000
SUFFIXES = ("com", "org", "co.uk", "de", "github.io")
RULES = BlockList(words=("spam", "junk"), soft_words=("cheap", "free", "pills"), ip_hosts=True)


def names(number: int, seed: int) -> list[str]:
    """Made-up registered domains."""
    keys = draw.mix(np.arange(number, dtype=np.uint64) + np.uint64(seed * HOSTS))
    return [f"{key & 0xFFFFFFFFFF:x}.{SUFFIXES[key % 5]}" for key in keys.tolist()]


def plainly(urls: list[str], listed: set[str]) -> list[bool]:
    found = []
    for url in urls:
        labels = (urlsplit(url).hostname or "").split(".")
        found.append(any(".".join(labels[i:]) in listed for i in range(len(labels))))
    return found


def main() -> None:
    args = arguments(__doc__, "files of URLs")
    core = one_core()
    listed = names(QUICK if args.quick else HOSTS, 0)
    urls = [line for path in args.paths for line in Path(path).read_text("utf-8").splitlines() if line]
    if not urls:
        free = names(QUICK if args.quick else URLS, 1)
        urls = [f"https://www.{host}/2024/05/{host[:7]}-page.html?id={i}" for i, host in enumerate(free)]
        urls[::50] = [f"http://sub.{host}/" for host in listed[: len(urls[::50])]]
    hosts, _ = blocklist._hosts("\n".join(listed).encode())
    blocker = Blocker(RULES, ["list"], hosts, np.ones(len(hosts), np.uint16), {})
    array, plain = pa.array(urls), set(listed)
    blocker.why(array[:8])  # compiled code is loaded on first use
    ours, theirs = least(lambda: blocker.why(array)), least(lambda: plainly(urls, plain), rounds=3)
    same = blocker.why(array).is_valid().to_numpy(zero_copy_only=False) == np.array(plainly(urls, plain))
    print(f"{len(urls)} URLs, {len(listed)} hosts listed, {sum(t.nbytes for t in blocker._table) / 1e6:.1f} MB; {core}")
    print(f"same decision on {same.mean():.2%}")
    print(f"ours {len(urls) / ours:,.0f} URLs/s, plain Python {len(urls) / theirs:,.0f} URLs/s")
    report("urls", theirs / ours)


if __name__ == "__main__":
    main()
