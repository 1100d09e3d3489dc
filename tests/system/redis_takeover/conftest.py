from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.redis_deployment import Cluster, SentinelSet, deployed
from support.redis_encryption import RedisEncryption


@pytest.fixture(params=[SentinelSet, Cluster], ids=["sentinel", "cluster"])
def deployment(request: Any, tmp_path: Path) -> Iterator[SentinelSet | Cluster]:
    with deployed(request.param, tmp_path) as made:
        yield made


@pytest.fixture(params=[SentinelSet, Cluster], ids=["sentinel", "cluster"])
def encrypted(request: Any, redis_program: str, tmp_path: Path) -> Iterator[SentinelSet | Cluster]:
    with deployed(request.param, tmp_path, RedisEncryption.make(redis_program, tmp_path / "certificates")) as made:
        yield made


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[SentinelSet]:
    with deployed(SentinelSet, tmp_path) as made:
        assert isinstance(made, SentinelSet)
        yield made


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with deployed(Cluster, tmp_path) as made:
        assert isinstance(made, Cluster)
        yield made
