"""The processes here are others, since what an allocator is told can't be taken back."""

import platform
import subprocess
import sys

import pytest

from chassis.allocator import keep_large_blocks

SIZE = 2 * 1024 * 1024
ROUNDS = 50
FAULTS = f"""
import resource, sys
from chassis.allocator import keep_large_blocks
if sys.argv[1] == "kept":
    keep_large_blocks()
def touch():
    blocks = [bytearray({SIZE}) for _ in range(3)]
    for block in blocks:
        block[::4096] = bytes(len(block[::4096]))
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({ROUNDS}):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_blocks_of_a_messages_size_are_used_again() -> None:
    assert _faults("kept") < ROUNDS


def test_another_allocator_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    keep_large_blocks()
