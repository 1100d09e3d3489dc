"""Draws the same work in two ways: as the original page would, and as this one does.

The original worker counts in Redis each second, after whole pieces of work; its page polls that counter each second and
draws the differences. This program is such a worker and such a page, beside a real worker and the real page.

python docs/labs/original_graph.py SECONDS PICTURE.svg
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

# Pixels.
STEP, UNIT, EDGE = 40, 40, 48
HIGHEST = 5

SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">
<style>
  :root {{ font: 14px system-ui, sans-serif }}
  :root {{ color: #1c2430; background: #ffffff; --original: #b45309; --page: #1d6fdc }}
  @media (prefers-color-scheme: dark) {{
    :root {{ color: #d8dee9; background: #12161c; --original: #f5a524; --page: #6cb6ff }}
  }}
  text {{ fill: currentColor }} path {{ fill: none; stroke: currentColor; stroke-opacity: 0.2 }}
  polyline {{ fill: none; stroke-width: 2.5 }}
</style>
{content}
</svg>
"""


def picture(lines: dict[str, list[float]]) -> str:
    """Draw lines of one value a second, by the name of their colour."""
    seconds = max(map(len, lines.values()))
    width, bottom = EDGE + seconds * STEP, EDGE + HIGHEST * UNIT
    parts = []
    for speed in range(HIGHEST + 1):
        parts.append(f'<path d="M{EDGE} {bottom - speed * UNIT}H{width - STEP / 2}"/>')
        parts.append(f'<text x="{EDGE - 18}" y="{bottom - speed * UNIT + 5}">{speed}</text>')
    parts += [f'<text x="{EDGE + each * STEP}" y="{bottom + 22}">{each} s</text>' for each in range(0, seconds, 5)]
    for number, (colour, speeds) in enumerate(lines.items()):
        points = " ".join(f"{EDGE + second * STEP},{bottom - speed * UNIT:.1f}" for second, speed in enumerate(speeds))
        name = {"original": "the original's graph", "page": "this page's"}[colour]
        parts.append(f'<polyline style="stroke: var(--{colour})" points="{points}"/>')
        parts.append(f'<text style="fill: var(--{colour})" x="{EDGE + number * 180}" y="24">{name}</text>')
    return SVG.format(width=width, height=bottom + EDGE - 12, content="\n".join(parts))


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
Path(sys.argv[2]).write_text(picture({"original": [float(each) for each in polled], "page": drawn}))
