"""The commands of docs/kubernetes.md, for a namespace of a test's own."""

import re
import shlex
import sys

from support import programs
from support.cluster import START_LIMIT_S, Cluster
from support.compose_project import ROOT

PAGE = (ROOT / "docs" / "kubernetes.md").read_text()

# A reader's commands by the headings of their sections, without those that make a cluster and images for it.
COMMANDS: dict[str, list[str]] = {
    heading: re.findall(r"^ {4,6}((?:kubectl|while|make certs) .*)$", text, re.MULTILINE)
    for heading, text in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
}

# The page's objects and kustomizations.
BLOCKS: list[str] = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

# Commands that go on until a person ends them, and how long they are seen to.
ENDLESS = re.compile(r"--watch|--follow")
ENDLESS_S = 4


class Section:
    """The commands of one section of the page, in their order."""

    def __init__(self, cluster: Cluster, heading: str) -> None:
        self._cluster = cluster
        self._all = COMMANDS[heading]
        self._commands = iter(self._all)

    def command(self, **words: str) -> str:
        """Return the next command for the test's namespace, with words in place of those that a reader replaces."""
        command = next(self._commands)
        if command.startswith("make certs"):  # The folder of the test has no Makefile.
            return f"{shlex.quote(sys.executable)} -m deploy.certs certs {command.partition('ARGS=')[2]}"
        if re.search(r"\bnamespace\b.*\bdockercoins\b", command):  # It is there, by another name.
            command = command.replace("create namespace dockercoins", "get namespace dockercoins")
            command = command.replace("dockercoins", self._cluster.namespace)
        for word, replacement in words.items():
            command = re.sub(rf"\b{word}\b", replacement, command)
        return command

    def run(self, beginning: str, **words: str) -> str:
        """Run the next command, which begins like this, and return what it prints."""
        command = self.command(**words)
        assert command.startswith(beginning), f"the page's next command is {command}"
        line = ["bash", "-c", command]
        if ENDLESS.search(command):
            line = ["timeout", str(ENDLESS_S), *line]
        done = programs.run(*line, cwd=self._cluster.folder, env=self._cluster.environment(), timeout=START_LIMIT_S)
        assert done.returncode == (124 if ENDLESS.search(command) else 0), f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def run_only(self, beginning: str, **words: str) -> str:
        """Run the one command of the section that begins like this, whichever is next."""
        [command] = [each for each in self._all if each.startswith(beginning)]
        self._commands = iter([command])
        return self.run(beginning, **words)

    def end(self) -> None:
        """Check that no command is left."""
        assert list(self._commands) == []
