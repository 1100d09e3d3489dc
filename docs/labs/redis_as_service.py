"""Sends one command to Redis as the service in whose container it runs: with its user, password and certificate.

docker compose exec -T webui python - COMMAND… < docs/labs/redis_as_service.py
"""

import os
import sys
from pathlib import Path
from typing import Any

import redis

client: Any = redis.Redis.from_url(
    os.environ["REDIS_URL"],
    password=Path(os.environ["REDIS_PASSWORD_FILE"]).read_text(),
    ssl_certfile=os.environ["TLS_CERT"],
    ssl_keyfile=os.environ["TLS_KEY"],
    ssl_ca_certs=os.environ["TLS_CA"],
)
try:
    print(client.execute_command(*sys.argv[1:]))
except redis.RedisError as error:
    print(error)
