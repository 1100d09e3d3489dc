"""Draws the same work in two ways: as the original page would, and as this one does.

The original worker counts in Redis each second, after whole pieces of work; its page polls that counter each second and
draws the differences. This program is such a worker and such a page, beside a real worker and the real page.

python docs/labs/original_graph.py SECONDS
"""

import itertools
import json
import os
import sys
import threading
import time
import urllib.request
from pathlib import Path

import redis

password = (Path(os.environ.get("DATA_DIR", "data")) / "redis-password").read_text()
client = redis.Redis(port=6379, password=password)


def work() -> None:
    """Count as the original worker does."""
    while True:
        deadline, loops = time.monotonic() + 1, 0
        while time.monotonic() < deadline:
            time.sleep(0.3)  # 0.1 s each for rng, hasher, and the worker's own wait
            loops += 1
        client.incrby("original", loops)


threading.Thread(target=work, daemon=True).start()
time.sleep(2)
began = time.time()
counts = [int(client.get("original") or 0)]
for second in range(int(sys.argv[1])):
    time.sleep(max(0.0, began + second + 1 - time.time()))
    counts.append(int(client.get("original") or 0))
polled = [later - earlier for earlier, later in itertools.pairwise(counts)]
time.sleep(4)
with urllib.request.urlopen(f"http://127.0.0.1:8000/api/history?seconds={len(polled) + 10}") as response:
    points = dict(json.load(response)["points"])
drawn = [points.get(int(began) + second) or 0.0 for second in range(len(polled))]
print("second  original  this page")
for second, (theirs, ours) in enumerate(zip(polled, drawn, strict=True)):
    print(f"{second:6}  {theirs:8}  {ours:9.2f}")
for name, values in (("original", polled), ("this page", drawn)):
    print(f"{name}: {min(values):.1f} to {max(values):.1f}, on average {sum(values) / len(values):.2f} hashes/s")
