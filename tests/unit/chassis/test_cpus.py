import os
from pathlib import Path

import pytest

from chassis import cpus

MANY = 64


@pytest.fixture(autouse=True)
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(MANY)), raising=False)


def machine(root: Path, cgroup: str, **files: str) -> Path:
    """A machine whose process is in these cgroups, with files of the file system of cgroups, `/` as `__`."""
    for name, content in {
        "proc__self__cgroup": cgroup,
        **{f"sys__fs__cgroup__{k}": v for k, v in files.items()},
    }.items():
        path = root / name.replace("__", "/").replace("cpu_", "cpu.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


def test_without_cgroups_it_is_what_the_affinity_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cpus.usable(tmp_path) == MANY
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 7})
    assert cpus.usable(tmp_path) == 2


def test_without_affinities_it_is_what_the_machine_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cpus.usable(tmp_path) == os.cpu_count()


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("200000 100000", 2), ("150000 100000", 2), ("5000 100000", 1), ("max 100000", MANY), ("9900000 100000", MANY)],
)
def test_a_quota_is_rounded_up(tmp_path: Path, limit: str, expected: int) -> None:
    assert cpus.usable(machine(tmp_path, "0::/", cpu_max=limit)) == expected


def test_the_least_of_all_cgroups_above_counts(tmp_path: Path) -> None:
    limits = {
        "cpu_max": "800000 100000",
        "a__cpu_max": "max 100000",
        "a__b__cpu_max": "300000 100000",
        "c__cpu_max": "1 9",
    }
    assert cpus.usable(machine(tmp_path, "0::/a/b", **limits)) == 3
    assert cpus.usable(machine(tmp_path, "0::/a", **limits)) == 8


def test_a_container_that_does_not_see_its_own_path_finds_its_quota_at_the_root(tmp_path: Path) -> None:
    assert cpus.usable(machine(tmp_path, "0::/../../docker/0123", cpu_max="200000 100000")) == 2


@pytest.mark.parametrize(("quota", "expected"), [("250000", 3), ("-1", MANY)])
def test_version_1_says_it_in_two_files(tmp_path: Path, quota: str, expected: int) -> None:
    cgroup = "5:memory:/docker/0123\n4:cpu,cpuacct:/docker/0123\n0::/"
    files = {"cpu__cpu_cfs_quota_us": quota, "cpu__cpu_cfs_period_us": "100000"}
    assert cpus.usable(machine(tmp_path, cgroup, **files)) == expected


def test_files_that_say_something_else_are_no_limit(tmp_path: Path) -> None:
    assert cpus.usable(machine(tmp_path, "0::/", cpu_max="")) == MANY
