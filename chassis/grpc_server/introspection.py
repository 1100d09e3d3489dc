"""What a server says of itself to people and their tools: reflection, in v1 and v1alpha, and channelz."""

from collections.abc import Mapping

import grpc

from chassis.grpc_server.method_interceptor import Handler

CHANNELZ = "grpc.channelz.v1.Channelz"
REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"
REFLECTION_V1ALPHA = "grpc.reflection.v1alpha.ServerReflection"

SERVICES = (CHANNELZ, REFLECTION_V1, REFLECTION_V1ALPHA)

_PREFIXES = tuple(f"/{service}/" for service in SERVICES)


class Introspection(grpc.GenericRpcHandler):
    """Serves these services. Their modules are imported with the first call, for most servers never have one."""

    def __init__(self, *services: str) -> None:
        """Reflection lists these services by their full names, and its own."""
        self._services = (*services, *SERVICES)
        self._handlers: Mapping[str, Handler] | None = None

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """Return the handler of a method, or None when it is not of these services."""
        if not handler_call_details.method.startswith(_PREFIXES):
            return None
        if self._handlers is None:
            from chassis.grpc_server import introspection_handlers  # noqa: PLC0415 - see above

            self._handlers = introspection_handlers.make(self._services)
        return self._handlers.get(handler_call_details.method)
