import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any


class EagerStart:
    """A coroutine that runs up to its first wait at once; await this, once, for the rest and for what it raised.

    Abandon it where that is not to be, or asyncio logs what nobody asked for.

    A task begins only in the event loop's next turn, after a look at all sockets. Python 3.12 has eager tasks; this
    serves 3.11 too, and the rest needs no task of its own.
    """

    __slots__ = ("_awaited", "_coroutine", "_ended", "_error")

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._coroutine = coroutine
        self._awaited: Any = None
        """What the coroutine waits for: a future, or None for the loop's next turn."""
        self._ended = False
        self._error: Exception | None = None
        self._go_on(coroutine.send, None)

    def _go_on(self, resume: Callable[[Any], Any], argument: object) -> None:
        try:
            self._awaited = resume(argument)
        except StopIteration:
            self._ended = True
        except Exception as error:  # noqa: BLE001 - whoever awaits gets it
            self._ended = True
            self._error = error

    def abandon(self) -> None:
        """Go on no more; how what it waits for ends is of no interest."""
        if not self._ended:
            self._ended = True
            self._coroutine.close()
            if isinstance(self._awaited, asyncio.Future):
                self._awaited.add_done_callback(_retrieve)

    def __await__(self) -> Generator[Any, Any, None]:
        while not self._ended:
            try:
                value = yield self._awaited
            except BaseException as error:  # noqa: BLE001 - the coroutine gets it, as if it were awaited itself
                self._go_on(self._coroutine.throw, error)
            else:
                self._go_on(self._coroutine.send, value)
        if self._error is not None:
            raise self._error


def _retrieve(ended: "asyncio.Future[Any]") -> None:
    if not ended.cancelled():
        ended.exception()
