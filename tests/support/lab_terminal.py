"""A student's terminals: a shell on a pseudo-terminal each, in which a lab's commands are typed."""

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pexpect
import psutil

from support.lab_script import ANYTHING, CTRL_C, LIMIT_S, Look, Names, Picture, Step, matches

PROMPT = "<prompt>"

# Rows and columns, so that a run's live status fits.
SIZE = (50, 160)

# What a student sees in a browser is the output of a program, in a terminal with no number in the text. A browser takes
# seconds of CPU to start, so a lab has one.
_PAGE = 0
_PAGE_LIMIT_S = 120.0
_BROWSER = (
    f"PYTHONSAFEPATH=1 PYTHONPATH={shlex.quote(str(Path(__file__).parents[1]))} {shlex.quote(sys.executable)} "
    f'-m support.lab_page "${{WEBUI_PORT:-8000}}" {shlex.quote(PROMPT)}'
)

# In which a lab's last command must end; containers take a while to go.
CLEAN_UP_LIMIT_S = 20.0

# Between two attempts of a command that does not show yet what is expected.
_PAUSE_S = 0.5

_POLL_S = 0.05

# What goes up some lines and erases all from there, as a live status does; and colours and the like.
_ERASURE = re.compile(r"\x1b\[([0-9]+)A\r\x1b\[J")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\r")

# Makes loopback work in a new network namespace, and keeps that until its input ends.
_LOOPBACK = """
import fcntl, socket, struct, sys
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0x41))  # SIOCSIFFLAGS, IFF_UP and IFF_RUNNING
print("up", flush=True)
sys.stdin.read()
"""


def _heed_ctrl_c() -> None:
    """Undo what a shell does to programs that it starts in the background, as that of a CI."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class LabError(AssertionError):
    """A lab that does not show what its text says."""


class Terminal:
    """One shell."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self._shell = pexpect.spawn(
            command[0],
            [*command[1:], "--noprofile", "--norc", "--noediting", "-i"],
            cwd=str(folder),
            env={**environment, "PS1": PROMPT, "PS2": "", "TERM": "xterm", "VIRTUAL_ENV_DISABLE_PROMPT": "1"},
            echo=False,
            dimensions=SIZE,
            encoding="utf-8",
            codec_errors="replace",
            preexec_fn=_heed_ctrl_c,
        )
        self._text = ""
        self._begin = 0
        self._limit_s = LIMIT_S
        self._ended = False
        # What nobody reads would hold a program up.
        threading.Thread(target=self._read, daemon=True).start()
        self._wait_for_prompt()

    def _read(self) -> None:
        with suppress(pexpect.EOF, OSError, ValueError):
            while True:
                text = self._shell.read_nonblocking(65_536, None)
                self._text += text
        self._ended = True

    @property
    def is_busy(self) -> bool:
        """Whether the command has not ended."""
        return not self._text[self._begin :].endswith(PROMPT)

    @property
    def length(self) -> int:
        """The number of characters shown so far, by which a change is noticed at little cost."""
        return len(self._text)

    @property
    def lines(self) -> list[str]:
        """The lines that are seen of what was shown since the last command."""
        first, *parts = _ERASURE.split(self._text[self._begin :].removesuffix(PROMPT))
        lines = first.split("\n")
        for erased, text in zip(map(int, parts[::2]), parts[1::2], strict=True):
            lines[-erased - 1 :] = text.split("\n")
        # A line that has no end yet may be half of one.
        return [_CONTROL.sub("", line) for line in (lines if lines[-1] and not self.is_busy else lines[:-1])]

    def type(self, command: str, limit_s: float = LIMIT_S) -> None:
        """Type a command, which has that time to end, once the one before has ended; or press Ctrl-C."""
        if command != CTRL_C:
            self._wait_for_prompt()
        self._limit_s = limit_s
        self._begin = len(self._text)
        if command == CTRL_C:
            self._shell.sendintr()
        else:
            self._shell.sendline(command)

    def _wait_for_prompt(self, limit_s: float | None = None) -> None:
        end = time.monotonic() + (self._limit_s if limit_s is None else limit_s)
        while self.is_busy:
            if self._ended or time.monotonic() > end:
                raise LabError(f"the command before does not end, and shows:\n{_quote(self.lines)}")
            time.sleep(_POLL_S)

    def children(self) -> list[psutil.Process]:
        """Return the processes of this terminal that still run."""
        shell = psutil.Process(self._shell.pid)
        return [each for each in shell.children(recursive=True) if each.name() not in {"bash", "nsenter"}]

    def close(self) -> None:
        """End the shell and all that it started."""
        with suppress(psutil.NoSuchProcess):
            running = self.children()
            self._shell.sendintr()
            # A thread that reads input can't be interrupted.
            self._shell.sendeof()
            psutil.wait_procs(running, timeout=5)
            for each in running:
                with suppress(psutil.NoSuchProcess):
                    each.kill()
        self._shell.close(force=True)


class Student:
    """Carries a lab out step by step, as its text says."""

    def __init__(self, open_terminal: Callable[[], Terminal], pictures: Path | None = None) -> None:
        """Open terminals as they are needed; put the text's pictures into a folder, or take none."""
        self._open_terminal = open_terminal
        self._pictures = pictures
        self._terminals: dict[int, Terminal] = {}
        self._names: Names = frozenset()

    def do(self, step: Step | Look | Picture) -> None:
        """Raise LabError if the student sees something else than the text says."""
        match step:
            case Step():
                self._type(step)
            case Look():
                among_others = [ANYTHING, *(line for each in step.expected for line in (each, ANYTHING))]
                self._see(step.line, among_others, step.view)
            case Picture() if self._pictures:
                path = self._pictures / step.name
                self._see(step.line, [], step.view, step.parts, str(path))

    def _see(self, line: int, expected: list[str], *words: str) -> None:
        if _PAGE not in self._terminals:
            self._terminals[_PAGE] = self._open_terminal()
            self._terminals[_PAGE].type(_BROWSER, _PAGE_LIMIT_S)
        self._type(Step(line, _PAGE, shlex.join(words), _PAGE_LIMIT_S, expected))

    def _type(self, step: Step) -> None:
        terminal = self._terminals.get(step.terminal)
        if terminal is None:
            terminal = self._terminals[step.terminal] = self._open_terminal()
        terminal.type(step.command, step.limit_s)
        end = time.monotonic() + step.limit_s
        repeated = 0
        looked_at = -1
        while True:
            time.sleep(_POLL_S)
            is_late = time.monotonic() > end
            if terminal.length == looked_at and not is_late:
                continue
            looked_at = terminal.length
            is_over = not terminal.is_busy
            lines = terminal.lines
            if (is_over or step.is_open) and (names := matches(step.expected, lines, self._names)) is not None:
                self._names = names
                return
            # Of an attempt that is under way, there is little to see.
            if is_over or repeated == 0:
                shown = lines
            can_repeat = step.within_s is not None and step.command != CTRL_C
            if is_late or (is_over and not can_repeat):
                raise LabError(
                    f"line {step.line}: {step.command}\nshows\n{_quote(shown)}\nand not\n{_quote(step.expected)}"
                )
            if is_over:
                time.sleep(_PAUSE_S)
                terminal.type(step.command, step.limit_s)
                repeated += 1

    def clean_up(self) -> None:
        """Raise LabError if something is left running."""
        if (page := self._terminals.pop(_PAGE, None)) is not None:
            page.close()
        for number, terminal in self._terminals.items():
            with suppress(LabError):
                terminal._wait_for_prompt(CLEAN_UP_LIMIT_S)
            if left := terminal.children():
                raise LabError(f"terminal {number} still runs {', '.join(str(each.cmdline()) for each in left)}")

    def close(self) -> None:
        """Close all terminals."""
        for terminal in self._terminals.values():
            terminal.close()


def _quote(lines: Sequence[str]) -> str:
    return "\n".join(f"  | {line}" for line in lines)


@contextmanager
def network_of_its_own() -> Iterator[tuple[str, ...] | None]:
    """Yield the words before a command that run it in a network with nothing but loopback, where all ports are free.

    Yields None where the system has no such networks, or does not allow them.
    """
    is_root = os.geteuid() == 0
    new = ("unshare", "--net") if is_root else ("unshare", "--user", "--map-root-user", "--net")
    with ExitStack() as stack:
        try:
            holder = stack.enter_context(
                subprocess.Popen(
                    [*new, sys.executable, "-c", _LOOPBACK],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
            )
        except OSError:
            yield None
            return
        assert holder.stdin
        assert holder.stdout
        stack.callback(holder.stdin.close)
        user = () if is_root else ("--user", "--preserve-credentials")
        enter = ("nsenter", *user, "--net", f"--target={holder.pid}")
        yield enter if holder.stdout.readline() == "up\n" else None
