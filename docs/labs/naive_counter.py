"""Counts 10 pieces of work a second in Redis, as a simple program would: with INCRBY, and no sequence numbers.

python docs/labs/naive_counter.py forget     what Redis does not confirm is given up
python docs/labs/naive_counter.py retry      what Redis does not confirm is sent again
"""

import os
import sys
import time
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

password = (Path(os.environ.get("DATA_DIR", "data")) / "redis-password").read_text()
client = redis.Redis(port=6379, password=password, socket_timeout=1, retry=Retry(NoBackoff(), 0))
client.set("naive", 0)
done = 0
try:
    print("counting; Ctrl-C ends it", flush=True)
    while True:
        time.sleep(1)
        done += 10
        while True:
            try:
                client.incrby("naive", 10)
                break
            except redis.RedisError as error:
                print(f"{sys.argv[1]}: {error}", flush=True)
                if sys.argv[1] == "forget":
                    break
except KeyboardInterrupt:
    counted = int(client.get("naive") or 0)
    print(f"{done} done, {counted} counted: {abs(counted - done)} too {'few' if counted < done else 'many'}")
