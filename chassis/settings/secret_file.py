"""Files that hold one secret each, in a line."""

from pathlib import Path

MAX_BYTES = 4_096


class SecretFileError(Exception):
    """A file has no secret. The message is one line that names the variable, the path and what is allowed."""


def read(variable: str, path: Path, what: str) -> str:
    """What the file holds, `what` it is being for the message. Raises SecretFileError."""

    def refusal(cause: str | None) -> SecretFileError:
        return SecretFileError(
            f"{variable}={str(path)!r} is not allowed: it must be a file with the {what} in one line ({cause})"
        )

    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        found = content.decode().removesuffix("\n")
    except OSError as error:
        raise refusal(error.strerror) from None
    except UnicodeDecodeError:
        raise refusal("it is no UTF-8") from None
    if len(content) > MAX_BYTES:
        raise refusal(f"it has more than {MAX_BYTES} bytes")
    if not found:
        raise refusal("it is empty")
    if not found.isprintable():
        raise refusal("it has a second line, or other characters that can't be printed")
    return found
