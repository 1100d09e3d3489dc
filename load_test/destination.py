import sys
from pathlib import Path

from load_test.errors import LoadTestError, UsageError

STANDARD_OUTPUT = Path("-")


def check(option: str, path: Path | None) -> None:
    """Raise UsageError if the file could not be written, for that is better known before than after."""
    if path in {None, STANDARD_OUTPUT} or path is None:
        return
    existed = path.exists()
    try:
        with path.open("ab"):
            pass
    except OSError as error:
        raise UsageError(f"{option} {path}: it can't be written ({error.strerror})") from None
    if not existed:
        path.unlink()


def write(path: Path | None, text: str) -> None:
    """Write to a file, or to standard output. Raises LoadTestError when that fails."""
    try:
        if path is None or path == STANDARD_OUTPUT:
            sys.stdout.write(text)
            sys.stdout.flush()
        else:
            path.write_text(text)
    except OSError as error:
        raise LoadTestError(f"{path or 'standard output'} can't be written ({error.strerror})") from None
