"""Decides which clients may call which method, by the names in their certificates."""

from collections.abc import Mapping
from typing import Any

import grpc

from chassis.log import ThrottledLogger

# Names by method. A method without an entry can't be called.
Callers = Mapping[str, frozenset[str]]

# A certificate may have thousands of names, of any length, so the logged part is bounded.
MAX_NAMES = 4
MAX_NAME_LENGTH = 64


class AllowList:
    """Ends a call with PERMISSION_DENIED unless the client's certificate has a name that may call the method.

    Health, reflection and channelz are open to all clients that could connect.
    """

    def __init__(self, callers: Callers, logger: ThrottledLogger) -> None:
        self._callers = callers
        self._logger = logger

    async def check(self, method: str, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Abort the call unless its client may make it."""
        names = [name.decode(errors="replace") for name in context.auth_context().get("peer_dns", ())]
        allowed = self._callers.get(method, frozenset())
        if not allowed.isdisjoint(names):
            return
        caller = ", ".join(name[:MAX_NAME_LENGTH] for name in names[:MAX_NAMES]) or "an unnamed client"
        callers = " or ".join(sorted(allowed)) or "no client"
        self._logger.log(method=method, peer=context.peer(), names=caller, allowed=callers)
        details = f"{method} is for {callers}; this certificate is of {caller}"
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, details)
