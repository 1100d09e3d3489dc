import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.certificates import Authority
from system.discovery.mine import DELAY, MakeMine, Mine, mine
from system.discovery.replicas import NUMBERS, address


@pytest.fixture
def environments(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, dict[str, str]]:
    """What services are told beyond the usual: nothing, or with the parameter `tls` to encrypt."""
    if getattr(request, "param", "plain") == "plain":
        return {}
    authority = Authority(tmp_path / "certificates")
    return {service: authority.issue(service) for service in ("rng", "hasher", "worker")}


@pytest.fixture
def make_mine(tmp_path: Path, environments: dict[str, dict[str, str]]) -> Iterator[MakeMine]:
    for number in NUMBERS:
        try:
            socket.create_server((address(number), 0)).close()
        except OSError:
            if "CI" in os.environ:
                raise
            pytest.skip(f"no address {address(number)} here: sudo ifconfig lo0 alias {address(number)}")
    with contextlib.ExitStack() as stack:
        made = 0

        def make(**delays: float) -> Mine:
            nonlocal made
            made += 1
            return stack.enter_context(mine(tmp_path / f"mine-{made}", environments, **delays))

        yield make


@pytest.fixture
def mines(make_mine: MakeMine) -> list[Mine]:
    """One in which the rngs are the limit, one in which the hashers are."""
    return [make_mine(rng=DELAY), make_mine(hasher=DELAY)]
