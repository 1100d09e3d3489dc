"""Makes the virtual environment and installs into it, for the Makefile; shows how far it is, and explains failures.

    python3 bootstrap.py venv
    .venv/bin/python bootstrap.py install TITLE SECONDS FILE...
    .venv/bin/python bootstrap.py project TITLE SECONDS

SECONDS is about how long it takes, for a person who waits.
"""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
# Compiling all modules takes a quarter of the time; the few that are used are compiled at the first start.
PIP = (sys.executable, "-m", "pip", "install", "--no-deps", "--no-compile")

# Settings of pip that can be in the environment, would install elsewhere, or would change the output that is read here.
PIP_SETTINGS = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_QUIET", "PIP_VERBOSE")

# Lines of pip's output that a failure prints when its cause is none that is known here.
SHOWN_LINES = 15

_TERMINAL = sys.stdout.isatty()


def main(command: str, *arguments: str) -> None:
    """Run one command, while no other process runs one here."""
    # Ctrl-C is no error of ours to trace.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if command == "venv":
            _make_venv()
        elif command == "install":
            title, seconds, *files = arguments
            _install(title, seconds, files)
        else:
            title, seconds = arguments
            _run(title, seconds, (*PIP, "--no-build-isolation", "--editable", "."), lambda _: "")


def _make_venv() -> None:
    """Make the virtual environment, unless it is there, works, and was made at this path.

    One of a moved or copied checkout has the old path in its scripts, and runs the code that is there.
    """
    stamp = VENV / ".made"
    try:
        made_here = f" {VENV}\n" in (VENV / "pyvenv.cfg").read_text()
        # S603: this program has made the interpreter that it calls.
        works = not subprocess.call((VENV / "bin/python", "-c", "import pip"), stderr=subprocess.DEVNULL)  # noqa: S603
    except OSError:
        made_here = works = False
    if made_here and works and stamp.exists():
        return
    # A link goes, and what it points to stays.
    if VENV.is_symlink():
        VENV.unlink()
    shutil.rmtree(VENV, ignore_errors=True)
    # Of the interpreter that runs this, or, if that was the virtual environment's, of the one that made it.
    base = str(vars(sys).get("_base_executable", sys.executable))
    _run("Making a virtual environment", "4", (base, "-m", "venv", str(VENV)), lambda _: "")
    stamp.touch()


def _install(title: str, seconds: str, files: list[str]) -> None:
    total = sum(line[:1].isalnum() for file in files for line in (ROOT / file).read_text().splitlines())
    packages = Path(sysconfig.get_path("purelib"))
    before = len(list(packages.glob("*.dist-info")))

    def progress(lines: list[str]) -> str:
        if any(line.startswith("Installing collected packages") for line in lines):
            return f"installing {len(list(packages.glob('*.dist-info'))) - before} of {total}"
        named = [line.split()[1] for line in lines if line.startswith(("Collecting ", "Requirement already"))]
        return f"fetching {len(named)} of {total}"

    requirements = [word for file in files for word in ("-r", file)]
    _run(title, seconds, (*PIP, "--require-hashes", *requirements), progress)


def _run(title: str, seconds: str, command: tuple[str, ...], progress: Callable[[list[str]], str]) -> None:
    """Run a command and show its progress: on a terminal in one line, elsewhere in a line per second.

    Raises SystemExit with the cause when it fails.
    """
    environment = {name: value for name, value in os.environ.items() if name not in PIP_SETTINGS}
    environment |= {"PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    process = subprocess.Popen(  # noqa: S603 - the Makefile names the command
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    lines: list[str] = []

    def read() -> None:
        for line in process.stdout or ():
            lines.append(line.rstrip())  # noqa: PERF401 - the list is read meanwhile

    reader = Thread(target=read)
    reader.start()
    started = time.monotonic()
    while reader.is_alive():
        doing = "the network fails, retrying" if lines and "Retrying (" in lines[-1] else progress(lines)
        elapsed = f"{time.monotonic() - started:.0f} s of about {seconds} s"
        _show(f"{title}: {doing}{', ' * bool(doing)}{elapsed}")
        reader.join(0.2 if _TERMINAL else 1)
    code = process.wait()
    _show(f"{title}: {'failed' if code else 'done'} after {time.monotonic() - started:.0f} s", last=True)
    if code:
        raise SystemExit(_cause(lines))


def _show(text: str, *, last: bool = False) -> None:
    if _TERMINAL:
        width = shutil.get_terminal_size().columns - 1
        sys.stdout.write(f"\r\033[K{text[:width]}{chr(10) * last}")
    else:
        sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _cause(lines: list[str]) -> str:
    output = "\n".join(lines)
    broken = re.findall(r"connection broken by '(.*)': /", output) or re.findall(r"Could not fetch URL.*: (.*)", output)
    if not broken:
        return "\n".join(lines[-SHOWN_LINES:])
    reason = re.sub(r"<[^>]*>(?:: |, )?", "", broken[-1])
    return (
        f"pip can't reach its package index: {reason}\n"
        "Check the network; behind a proxy, set HTTPS_PROXY. `python3 -m pip config list` shows pip's own settings."
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
