import os
from pathlib import Path

import pytest

from load_test.machine import usable_cpus

MANY = 64
CGROUPS = "sys/fs/cgroup"


@pytest.fixture(autouse=True)
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(MANY)), raising=False)


def test_without_cgroups_it_is_what_the_affinity_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 7})
    assert usable_cpus(tmp_path) == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cpus(tmp_path) == os.cpu_count()


NESTED = {"cpu.max": "800000 100000", "a/cpu.max": "max 100000", "a/b/cpu.max": "300000 100000", "c/cpu.max": "1 9"}
VERSION_1 = "5:memory:/docker/0123\n4:cpu,cpuacct:/docker/0123\n0::/"


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("0::/", {"cpu.max": "200000 100000"}, 2),
        ("0::/", {"cpu.max": "150000 100000"}, 2),
        ("0::/", {"cpu.max": "5000 100000"}, 1),
        ("0::/", {"cpu.max": "max 100000"}, MANY),
        ("0::/", {"cpu.max": ""}, MANY),
        ("0::/a/b", NESTED, 3),
        # A container that does not see its own path.
        ("0::/../../docker/0123", {"cpu.max": "200000 100000"}, 2),
        (VERSION_1, {"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        (VERSION_1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, MANY),
    ],
)
def test_the_smallest_quota_counts_rounded_up(
    tmp_path: Path, cgroup: str, files: dict[str, str], expected: int
) -> None:
    for name, content in {"proc/self/cgroup": cgroup, **{f"{CGROUPS}/{k}": v for k, v in files.items()}}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    assert usable_cpus(tmp_path) == expected
