"""Draws the page's graph of the last seconds as lines of text, and sums it up.

python docs/labs/graph.py SECONDS

The page's port is WEBUI_PORT, or 8000.
"""

import json
import os
import sys
import urllib.request

port = os.environ.get("WEBUI_PORT", "8000")
with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/history?seconds={sys.argv[1]}") as response:
    points = json.load(response)["points"]
speeds = [hashes for _, hashes in points if hashes is not None]
for hashes in speeds:
    print(f"{hashes:5.1f} {'#' * round(2 * hashes)}")
print(f"lowest {min(speeds):.1f}, mean {sum(speeds) / len(speeds):.1f} hashes/s in {len(speeds)} s")
