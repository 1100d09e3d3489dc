"""Checkouts of this project, each with its own code, libraries and setting names."""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.processes import BenchError

ROOT = Path(__file__).resolve().parent.parent

CHECKOUTS = ROOT / "build/against"

# Names that one setting had at different times.
SYNONYMS = (("BIND_ADDRESS", "HOST"), ("WINDOW_SIZE", "WINDOW"))

# The annotations of a settings class, whatever its kind, are its fields.
PROBE = """
import importlib, json
modules = [importlib.import_module(name) for name in ("chassis", "dockercoins.rng.v1.rng_service_pb2")]
names = set()
for service in ("rng", "hasher", "worker", "webui"):
    modules.append(importlib.import_module(f"{service}_svc.settings"))
    for owner in getattr(modules[-1], f"{service.title()}Settings").__mro__:
        names.update(getattr(owner, "__annotations__", ()))
print(json.dumps({"files": [module.__file__ for module in modules], "names": [name.upper() for name in names]}))
"""


@dataclass(frozen=True)
class Tree:
    """A checkout that is ready to run: its commit, `-dirty` if files were changed, and the names of its settings."""

    root: Path
    python: str
    commit: str
    settings: frozenset[str]

    @classmethod
    @functools.cache
    def this(cls) -> Self:
        """Return the checkout that this code is in, as it is. Raises BenchError."""
        return cls._look(ROOT, sys.executable)

    @classmethod
    def of(cls, commit: str) -> Self:
        """Return a checkout of a commit, made below build/ and kept for the next time. Raises BenchError."""
        revision = _git(ROOT, "rev-parse", "--verify", "--end-of-options", f"{commit}^{{commit}}")
        root = CHECKOUTS / revision[:12]
        if not root.exists():
            # Forced, since git remembers a checkout that `make clean` removed.
            _git(ROOT, "worktree", "add", "--force", "--detach", str(root), revision)
        _git(root, "diff", "--quiet", revision)
        # The same packages as here: each makes a start a little slower.
        python = sys._base_executable  # type: ignore[attr-defined]  # noqa: SLF001 - what made this environment has no public name
        _output(["make", "--silent", "-C", str(root), "bench", "ARGS=--help", f"PYTHON={python}"])
        return cls._look(root, str(root / ".venv/bin/python"))

    @classmethod
    def _look(cls, root: Path, python: str) -> Self:
        found = json.loads(_output([python, "-c", PROBE], root))
        for file in map(Path, found["files"]):
            inside = file.relative_to(root) if file.is_relative_to(root) else file
            if inside.is_absolute() or inside.parts[0] == CHECKOUTS.relative_to(ROOT).parts[0]:
                raise BenchError(f"Python in {root} would run {file}")
        return cls(
            root, python, _git(root, "describe", "--always", "--dirty", "--exclude=*"), frozenset(found["names"])
        )

    @property
    def load_test(self) -> list[str]:
        """Return Python's arguments for the load test, which was a command of the worker once."""
        return ["-m", "load_test"] if (self.root / "load_test").is_dir() else ["-m", "worker_svc", "load-test"]

    def named(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Return the settings under this tree's names. Raises BenchError for one that it does not have."""
        return {self._name(name): value for name, value in settings.items()}

    def _name(self, name: str) -> str:
        if name.startswith("GRPC_"):  # read by gRPC itself
            return name
        names = next((synonyms for synonyms in SYNONYMS if name in synonyms), (name,))
        for each in names:
            if each in self.settings:
                return each
        raise BenchError(f"{self.commit} has no setting {' or '.join(names)}")


def _git(root: Path, *arguments: str) -> str:
    return _output(["git", "-C", str(root), *arguments])


def _output(command: list[str], folder: Path = ROOT) -> str:
    """Return the output of a command. Raises BenchError with the end of it if the command fails."""
    # The variables that make and git set for their children are about this tree.
    ours = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "ARGS", "VIRTUAL_ENV", "PYTHONPATH"}
    environment = {key: value for key, value in os.environ.items() if key not in ours and not key.startswith("GIT_")}
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)  # noqa: S603 - our own commands
    except OSError as error:
        raise BenchError(f"{command[0]}: {error.strerror}") from None
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).strip()[-500:]
        raise BenchError(f"{' '.join(command[:6])} … ended with {error.returncode}: {said}") from None
    return done.stdout.strip()
