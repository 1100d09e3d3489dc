from collections.abc import Iterator
from pathlib import Path

import pytest
from system.redis_access.locked_redis import LockedRedis, locked_redis


@pytest.fixture
def locked(redis_program: str, tmp_path: Path) -> Iterator[LockedRedis]:
    with locked_redis(redis_program, tmp_path / "locked") as server:
        yield server
