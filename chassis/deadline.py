import asyncio
import contextlib
from collections.abc import AsyncIterator


@contextlib.asynccontextmanager
async def deadline(seconds: float, what: str) -> AsyncIterator[None]:
    """Bound a block by a deadline.

    Raises TimeoutError, which says that there was no `what` within so many seconds; what the block raises passes as it
    is, be it a TimeoutError.
    """
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except TimeoutError:
        if limit.expired():
            raise TimeoutError(f"no {what} within {seconds:g} s") from None
        raise
