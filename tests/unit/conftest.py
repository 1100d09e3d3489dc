from collections.abc import Callable, Mapping

from support.virtual_time import VirtualTimeLoop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], VirtualTimeLoop]]:
    """No unit test waits: the event loop of each has a clock that jumps from timer to timer."""
    return {"virtual": VirtualTimeLoop}
