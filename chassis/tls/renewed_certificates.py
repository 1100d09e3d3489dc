import asyncio

from chassis import log
from chassis.log import ThrottledLogger
from chassis.settings import CertificateFiles, SettingsError

LOOK_INTERVAL = 5.0
"""Seconds between looks at whether files have changed, which cost three calls of stat(); renewed certificates are to be
in use within a minute."""


class RenewedCertificates:
    """The latest content of these files that could be used."""

    def __init__(self, files: CertificateFiles) -> None:
        """Raises SettingsError when they can't be used."""
        self._files = files
        self._state = files.state()
        self.latest = files.read()
        self._unusable = ThrottledLogger("renewed certificate can't be used, keeping the one before", 60, level="error")

    def look(self) -> None:
        """Read the files if they have changed. While they can't be used, what was read before stays the latest."""
        state = self._files.state()
        if state == self._state:
            return
        try:
            latest = self._files.read()
        except SettingsError as error:
            self._unusable.log(cause=str(error))
            return
        self._state = state
        self._unusable.clear()
        if latest != self.latest:
            self.latest = latest
            log.get().info("certificate renewed", file=str(self._files.cert))

    async def keep_looking(self) -> None:
        """Look every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            self.look()
