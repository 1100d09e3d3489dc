"""A folder for what writes each change to disk before it goes on, such as the Redis of `make run`."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Containers often have 64 MiB there, which is less than tests write.
_MEMORY = Path("/dev/shm")
_MIN_FREE_BYTES = 2 * 1024**3


@contextmanager
def fast_folder() -> Iterator[Path]:
    """Make a folder in memory where that is possible, otherwise in /tmp; its path is short enough for a socket."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if _has_room() else "/tmp") as folder:
        yield Path(folder)


def _has_room() -> bool:
    try:
        return os.access(_MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(_MEMORY).free >= _MIN_FREE_BYTES
    except OSError:
        return False
