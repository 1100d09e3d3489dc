"""The socket by which `dockercoins scale` and the other commands reach a running `dockercoins run`.

Each run has a folder that only its user can open, with the socket and the files by which workers find addresses. A
request and its response are one JSON object in a line each.
"""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

SOCKET = "socket"

# A replica that is scaled down has 3.5 s to stop.
RESPONSE_LIMIT_S = 15.0

# Some systems allow 104 bytes for the path of a socket.
_MAX_FOLDER_LENGTH = 80

Request = dict[str, Any]


class CommandError(Exception):
    """A command that can't be carried out. The message is one line."""


class NotRunningError(Exception):
    """There is no run to send a command to, or it is not clear which. The message is one line."""


def _runs_folder() -> Path:
    """Return the folder of this user's runs. Raises NotRunningError if someone else could open it."""
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isdir(given) and len(given) <= _MAX_FOLDER_LENGTH:  # noqa: PTH112 - an empty text is no folder
        folder = Path(given) / "dockercoins"
    else:
        folder = Path("/tmp") / f"dockercoins-{os.geteuid()}"  # noqa: S108 - its owner and mode are checked
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise NotRunningError(
            f"{folder} can't be used ({error.strerror}); choose another with XDG_RUNTIME_DIR=…"
        ) from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise NotRunningError(f"{folder} must be a folder that only you can open; remove it")
    return folder


@contextlib.contextmanager
def run_folder() -> Iterator[Path]:
    """Make a folder for this run, and remove those of runs that were killed. Raises NotRunningError and OSError."""
    runs = _runs_folder()
    for old in runs.glob("[0-9]*"):
        try:
            os.kill(int(old.name), 0)
        except (ProcessLookupError, PermissionError):  # the id may be another user's process now
            shutil.rmtree(old, ignore_errors=True)
    folder = runs / str(os.getpid())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.asynccontextmanager
async def serve(folder: Path, handle: Callable[[Request], Awaitable[Any]]) -> AsyncIterator[None]:
    """Have requests handled until the context ends. What the function raises as CommandError is the response, too."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError):
            request = json.loads(await reader.readline())
            try:
                response = {"result": await handle(request)}
            except CommandError as error:
                response = {"error": str(error)}
            writer.write(json.dumps(response).encode() + b"\n")
        with contextlib.suppress(OSError):
            await writer.drain()
            writer.close()

    server = await asyncio.start_unix_server(respond, folder / SOCKET)
    try:
        yield
    finally:
        server.close()


def send(request: Request) -> Any:
    """Return the result of the running system. Raises CommandError and NotRunningError.

    Without DATA_DIR and WEBUI_PORT it is the only one, or the one with its data here.
    """
    runs: dict[Path, Request] = {}
    for path in _runs_folder().glob(f"*/{SOCKET}"):
        with contextlib.suppress(OSError, CommandError, ValueError):
            runs[path] = _exchange(path, {"command": "describe"})
    if not runs:
        raise NotRunningError("nothing is running here; start it with `dockercoins run`")
    port, data_dir = os.environ.get("WEBUI_PORT"), os.environ.get("DATA_DIR")
    data = str(Path(data_dir or "data").absolute())
    named = [
        path
        for path, run in runs.items()
        if (not port or port == str(run["port"])) and (not data_dir or data == run["data"])
    ]
    chosen = named if len(named) <= 1 else [path for path in named if runs[path]["data"] == data]
    shown = {path: f"WEBUI_PORT={run['port']} (data in {run['data']})" for path, run in runs.items()}
    if len(chosen) != 1:
        raise NotRunningError(
            f"{'choose a run' if named else 'there is no such run'}; running: {', '.join(shown.values())}"
        )
    (path,) = chosen
    result = _exchange(path, request)
    if isinstance(result, list) and not (port or data_dir) and runs[path]["data"] != data:
        return [f"in the run of {shown[path]}:", *result]
    return result


def _exchange(path: Path, request: Request) -> Any:
    """Raise OSError if nothing listens on the socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(RESPONSE_LIMIT_S)
        connection.connect(str(path))
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile() as file:
            line = file.readline()
    if not line:
        raise ConnectionError("it is stopping")
    response = json.loads(line)
    if "error" in response:
        raise CommandError(response["error"])
    return response["result"]
