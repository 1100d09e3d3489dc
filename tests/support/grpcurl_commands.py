import re

from support.compose_project import ROOT


def grpcurl_commands(page: str) -> list[str]:
    """A page's indented commands that use grpcurl, each in one line."""
    text = re.sub(r"\|\n\s+", "| ", (ROOT / page).read_text())
    return [line.strip() for line in text.splitlines() if line.startswith("    ") and "grpcurl" in line]
