"""The first `make` on a machine, with what goes wrong there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.free_port import free_port
from support.programs import environment, run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the first steps read, in a folder whose name a shell would split and expand."""
    folder = tmp_path / "a $HOME b"
    folder.mkdir()
    for name in ("Makefile", "bootstrap.py"):
        shutil.copy(ROOT / name, folder)
    for name in ("requirements", "protos"):
        shutil.copytree(ROOT / name, folder / name)
    return folder


def make(checkout: Path, target: str, **variables: object) -> "subprocess.CompletedProcess[str]":
    return run("make", "-C", checkout, "--no-print-directory", "-j8", target, env=environment(**variables))


def test_the_environment_is_made_again_when_the_checkout_moves_is_copied_or_loses_its_python(checkout: Path) -> None:
    stamp = ".venv/.made"
    first = make(checkout, stamp)
    assert "Making a virtual environment: done" in first.stdout, first.stderr
    made = (checkout / stamp).stat().st_mtime_ns
    assert make(checkout, stamp).stdout == ""
    assert (checkout / stamp).stat().st_mtime_ns == made

    copied = checkout.with_name("copied")
    shutil.copytree(checkout, copied, symlinks=True)
    assert "Making a virtual environment: done" in make(copied, stamp).stdout
    assert str(copied / ".venv") in (copied / ".venv" / "pyvenv.cfg").read_text()
    (copied / ".venv" / "bin" / "python").unlink()
    assert "Making a virtual environment: done" in make(copied, stamp).stdout


def test_without_a_network_it_says_so_each_second_and_names_the_cause(checkout: Path) -> None:
    """With a setting of pip that would make it install elsewhere."""
    proxy = f"http://127.0.0.1:{free_port()}"
    pip = {"PIP_CONFIG_FILE": os.devnull, "PIP_USER": 1, "PIP_NO_CACHE_DIR": 1, "PIP_RETRIES": 4}
    done = make(checkout, ".venv/.run", HTTPS_PROXY=proxy, https_proxy=proxy, **pip)
    assert done.returncode == 2
    lines = re.findall(r"Installing the dependencies: (.*), (\d+) s of about 15 s\n", done.stdout)
    assert [int(second) for _, second in lines[:3]] == [0, 1, 2]
    # From pip's first attempt on, which follows its start.
    said = [what for what, _ in lines if not what.startswith("fetching 0 of ")]
    assert set(said) == {"the network fails, retrying"}
    assert re.match(r"pip can't reach its package index: .*refused.*\nCheck the network; ", done.stderr)


def test_an_old_python_is_passed_over_for_a_newer_one_and_none_is_reported(checkout: Path, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("make", "sh", "find", "awk"):
        (programs / name).symlink_to(shutil.which(name) or name)
    old = programs / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o700)
    none = make(checkout, ".venv/.made", PATH=programs)
    assert none.returncode == 2
    assert none.stderr.startswith("there is no Python 3.11 or newer that can make virtual environments\n")
    named = make(checkout, ".venv/.made", PATH=programs, PYTHON=old)
    assert named.stderr.startswith(f"there is no Python 3.11 or newer that can make virtual environments: {old}\n")
    # A link would hide where the interpreter's library is.
    newer = programs / f"python3.{sys.version_info.minor}"
    newer.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    newer.chmod(0o700)
    assert make(checkout, ".venv/.made", PATH=programs).returncode == 0
