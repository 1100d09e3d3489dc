"""What a measurement is at, on one line of standard error that the next one replaces."""

import sys

WIDTH = 78


def show(text: str) -> None:
    """Replace the line; an empty text clears it."""
    sys.stderr.write(f"\r{text:<{WIDTH}}" if text else "\r" + " " * WIDTH + "\r")
    sys.stderr.flush()
