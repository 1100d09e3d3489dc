"""Multiplies rate and mean latency in a report of `dockercoins load-test`.

python docs/labs/littles_law.py REPORT
"""

import json
import sys
from pathlib import Path

for each in json.loads(Path(sys.argv[1]).read_text())["points"]:
    run = each["runs"][0]
    # How many batches took at most so long, in steps of a quarter: on average, they took a little less.
    mean = sum(0.89 * seconds * batches for seconds, batches in run["histogram"]) / run["batches"]
    rate = run["batches"] / run["seconds"]
    print(
        f"batches of {each['point']['batch_size']}: "
        f"{rate:,.0f} per second x {mean * 1e3:.1f} ms = {rate * mean:.1f} in flight"
    )
