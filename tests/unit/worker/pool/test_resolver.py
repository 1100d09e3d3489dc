import errno
import os
from pathlib import Path
from typing import Any

import aiodns
import pytest

from worker_svc.pool.resolver import Resolver


@pytest.mark.parametrize(
    ("target", "addresses"),
    [
        ("ipv4:10.0.0.1:50051,10.0.0.2:50051", ["ipv4:10.0.0.1:50051", "ipv4:10.0.0.2:50051"]),
        ("ipv6:[fd00::1]:50051", ["ipv6:[fd00::1]:50051"]),
        ("unix:/run/rng.socket", ["unix:/run/rng.socket"]),
    ],
)
async def test_addresses_need_no_look_up(target: str, addresses: list[str]) -> None:
    assert await Resolver(target).resolve() == addresses


async def test_a_file_is_read_at_each_look_up(tmp_path: Path) -> None:
    file = tmp_path / "rng"
    resolver = Resolver(f"file:{file}")
    assert (await resolver.resolve(), resolver.failure) == ([], f"{file}: No such file or directory")
    for addresses in (["ipv4:127.0.0.1:1"], ["ipv4:127.0.0.1:1", "ipv6:[::1]:2"]):
        file.write_text("\n".join(addresses))
        assert (await resolver.resolve(), resolver.failure) == (addresses, "")


@pytest.mark.parametrize(
    ("content", "failure"),
    [
        (b"\xff", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (b"ipv4:127.0.0.1:1\nrng", "'rng' is not a target"),
        (b"ipv4:127.0.0.1", "'ipv4:127.0.0.1' is not a target"),
        (b"dns:///rng:1", "'dns:///rng:1' is not a target of one address"),
        (b"ipv4:127.0.0.1:1,127.0.0.1:2", "'ipv4:127.0.0.1:1,127.0.0.1:2' is not a target of one address"),
    ],
)
async def test_a_file_with_anything_but_addresses_is_a_failed_look_up(
    tmp_path: Path, content: bytes, failure: str
) -> None:
    file = tmp_path / "rng"
    file.write_bytes(content)
    resolver = Resolver(f"file:{file}")
    assert (await resolver.resolve(), resolver.failure) == ([], f"{file}: {failure}")


async def test_a_name_server_that_is_no_address_is_a_failed_look_up() -> None:
    resolver = Resolver("dns://nowhere/rng:50051")
    assert await resolver.resolve() == []
    assert resolver.failure.startswith("rng: ")


async def test_a_process_without_file_descriptors_has_a_failed_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_resolver(**_: Any) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(aiodns, "DNSResolver", open_resolver)
    resolver = Resolver("rng:50051")
    assert await resolver.resolve() == []
    assert resolver.failure == "rng: Too many open files"
