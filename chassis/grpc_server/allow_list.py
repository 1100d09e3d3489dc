"""Decides which clients may call which method, by the names in their certificates."""

from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType

import grpc

from chassis.grpc_server.interceptors import Context, MethodInterceptor, StreamBehavior, ThrottledLoggers

# Names by method. A method without an entry can't be called.
Callers = Mapping[str, frozenset[str]]

NO_CALLERS: Callers = MappingProxyType({})

# A certificate may have thousands of names, of any length, so the logged part is bounded.
MAX_NAMES = 4
MAX_NAME_LENGTH = 64


class AllowListInterceptor(MethodInterceptor):
    """Ends a call with PERMISSION_DENIED unless the client's certificate has a name that may call the method.

    Health, reflection and channelz are open to all clients that could connect. It is the outermost interceptor, so the
    others do not see refused calls.
    """

    def __init__(self, service: str, callers: Callers, loggers: ThrottledLoggers) -> None:
        super().__init__(service)
        self._callers = callers
        self._loggers = loggers

    def wrap(self, method: str, behavior: StreamBehavior) -> StreamBehavior:
        """End the call unless its client may make it."""

        async def guarded(requests: AsyncIterator[object], context: Context) -> AsyncIterator[object]:
            await self._check(method, context)
            async for response in behavior(requests, context):
                yield response

        return guarded

    async def _check(self, method: str, context: Context) -> None:
        names = [name.decode(errors="replace") for name in context.auth_context().get("peer_dns", ())]
        allowed = self._callers.get(method, frozenset())
        if not allowed.isdisjoint(names):
            return
        caller = ", ".join(name[:MAX_NAME_LENGTH] for name in names[:MAX_NAMES]) or "an unnamed client"
        callers = " or ".join(sorted(allowed)) or "no client"
        self._loggers.log(
            "warning", "caller refused", "", method=method, peer=context.peer(), names=caller, allowed=callers
        )
        details = f"{method} is for {callers}; this certificate is of {caller}"
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, details)
