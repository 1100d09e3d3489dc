"""Certificates made on the spot, good ones and bad ones, as files that TLS_CERT, TLS_KEY and TLS_CA name."""

from datetime import datetime
from pathlib import Path

import trustme

# The names in servers' certificates: those of containers, and those of the tests' name server.
SERVERS = {"rng": ("rng", "rng.test"), "hasher": ("hasher", "hasher.test")}


class Authority:
    """Somebody who issues certificates, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.file = folder / "ca.pem"
        self._ca = trustme.CA()
        self._write("ca.pem", self._ca.cert_pem.bytes())
        self._write("ca-key.pem", self._ca.private_key_pem.bytes())

    def issue(self, file: str, *names: str, not_after: datetime | None = None, half: bool = False) -> dict[str, str]:
        """A certificate with these names, or else with that of its file, as settings; it replaces an earlier one.

        By half, only the key does. The common name is that of one who may call: it counts for nothing.
        """
        names = names or SERVERS.get(file, (file,))
        issued = self._ca.issue_cert(*names, common_name="worker", not_after=not_after)
        self._write(f"{file}-key.pem", issued.private_key_pem.bytes())
        if not half:
            self._write(f"{file}.pem", b"".join(part.bytes() for part in issued.cert_chain_pems))
        return self.settings(file)

    def settings(self, file: str) -> dict[str, str]:
        """Return the settings of a service that uses an issued certificate."""
        paths = {"TLS_CERT": f"{file}.pem", "TLS_KEY": f"{file}-key.pem", "TLS_CA": "ca.pem"}
        return {name: str(self.folder / path) for name, path in paths.items()}

    def _write(self, name: str, content: bytes) -> None:
        """Replace the file atomically: a reader sees the old one or the new one."""
        new = self.folder / f"{name}.new"
        new.write_bytes(content)
        new.replace(self.folder / name)
