import os
from pathlib import Path

PRIVATE = 0o600
PUBLIC = 0o644


def write(path: Path, content: bytes, mode: int, owner: int | None = None) -> None:
    """Replace a file at once: whoever reads sees the one before, or this one, and nobody sees more than `mode` allows.

    The owner is a uid and the gid of the same number; without one it is whoever runs this.
    """
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        os.fchmod(descriptor, mode)  # before it belongs to somebody else, when only a privileged root may
        if owner is not None:
            os.fchown(descriptor, owner, owner)
    new.replace(path)
