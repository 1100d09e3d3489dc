from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from chassis.redis.deployment import Deployment
from chassis.redis.schema import Keys
from chassis.settings import CertificateFiles, read_secret


@dataclass(frozen=True)
class RedisAccess:
    """Where Redis is, and who we are to it."""

    url: str
    """With the user and, unless a file has it, the password."""
    password_file: Path | None = None
    tls: CertificateFiles | None = None
    """With these what a rediss:// URL names is encrypted; without them it must have a certificate that the system
    trusts, and gets none."""
    prefix: str = ""
    """What the names of all keys begin with."""
    password_variable: str = "REDIS_PASSWORD_FILE"  # noqa: S105 - a name
    """The name of the variable that names the password file, for errors."""

    @property
    def name(self) -> str:
        """Of the server, or of the deployment, for people."""
        deployment = Deployment.parse(self.url)
        if deployment is None:
            return urlsplit(self.url).hostname or "redis"
        return deployment.name or deployment.nodes[0][0]

    @property
    def keys(self) -> Keys:
        """What the keys are called there."""
        return Keys(self.prefix)


def password(path: Path, variable: str) -> str:
    """The password in the file that this variable names. Raises SettingsError."""
    return read_secret(variable, path, "password")
