"""Who may call what, by the names in callers' certificates."""

from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

import grpc

from chassis.grpc_server.method_interceptor import Context, MethodInterceptor, StreamBehavior, UnaryBehavior
from chassis.log import ThrottledLogger

Callers = Mapping[str, frozenset[str]]
"""Names by method; a method that is not among them is for nobody."""

NOBODY: Callers = MappingProxyType({})

MAX_NAMES = 4
"""Names of a certificate that are said; there may be thousands in one."""

MAX_LENGTH = 64
"""Characters of a name that are said."""


class AllowList(MethodInterceptor):
    """Ends calls of one service's methods with PERMISSION_DENIED unless the caller's certificate has a name for them.

    Health, reflection and channelz are for whoever could connect. It stands in front of all others: what is refused
    here is seen by nobody else.
    """

    def __init__(self, service: str, callers: Callers) -> None:
        super().__init__(service)
        self._callers = callers
        self._refusals = ThrottledLogger("caller refused", interval_s=1.0)

    def flush(self) -> None:
        """Say what is not yet said, unless the last line is too recent."""
        self._refusals.flush()

    def close(self) -> None:
        """Say what is not yet said."""
        self._refusals.close()

    def unary(self, method: str, behavior: UnaryBehavior) -> Any:
        """One that the caller must be allowed."""

        async def guarded(request: object, context: Context) -> object:
            await self._check(method, context)
            return await behavior(request, context)

        return guarded

    def stream(self, method: str, behavior: StreamBehavior) -> Any:
        """One that the caller must be allowed."""

        async def guarded(requests: AsyncIterator[object], context: Context) -> AsyncIterator[object]:
            await self._check(method, context)
            async for response in behavior(requests, context):
                yield response

        return guarded

    async def _check(self, method: str, context: Context) -> None:
        names = dns_names(context)
        allowed = self._callers.get(method, frozenset())
        if allowed.isdisjoint(names):
            await self._refuse(method, names, allowed, context)

    async def _refuse(self, method: str, names: list[str], allowed: frozenset[str], context: Context) -> NoReturn:
        who = ", ".join(name[:MAX_LENGTH] for name in names[:MAX_NAMES]) or "nobody"
        whom = " or ".join(sorted(allowed)) or "nobody"
        self._refusals.log(method=method, peer=context.peer(), names=who, allowed=whom)
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"{method} is for {whom}; this certificate is of {who}")
        raise AssertionError  # abort() has raised


def dns_names(context: Context) -> list[str]:
    """Those in the caller's certificate; none where it has no certificate."""
    return [name.decode(errors="replace") for name in context.auth_context().get("peer_dns", ())]
