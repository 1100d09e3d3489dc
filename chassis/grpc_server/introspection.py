"""Serves reflection (v1 and v1alpha) and channelz, for people and their tools."""

from collections.abc import Iterable, Mapping
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor

from chassis.grpc_server.interceptor import Handler

_CHANNELZ = "grpc.channelz.v1.Channelz"
_REFLECTIONS = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
_SERVICES = (_CHANNELZ, *_REFLECTIONS)
_PREFIXES = tuple(f"/{service}/" for service in _SERVICES)

_POOL = descriptor_pool.Default()


class Introspection(grpc.GenericRpcHandler):
    """Serves reflection and channelz. Their modules are imported at the first call, which most servers never get."""

    def __init__(self, *services: str) -> None:
        """List these services, by their full names, and the servicer's own."""
        self._services = (*services, *_SERVICES)
        self._handlers: Mapping[str, Handler] | None = None

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """Return the handler of a method, or None when it is not of these services."""
        if not handler_call_details.method.startswith(_PREFIXES):
            return None
        if self._handlers is None:
            self._handlers = {**_reflection_handlers(self._services), **_channelz_handlers()}
        return self._handlers.get(handler_call_details.method)


def _reflection_handlers(services: Iterable[str]) -> Mapping[str, Handler]:
    from google.protobuf import text_format  # noqa: PLC0415 - see Introspection
    from google.protobuf.descriptor_pb2 import FileDescriptorProto  # noqa: PLC0415 - see Introspection
    from grpc_reflection.v1alpha import reflection, reflection_pb2  # noqa: PLC0415 - see Introspection

    # grpcio-reflection has neither a module nor a descriptor of v1, so its descriptor is derived from v1alpha's.
    v1alpha = FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(v1alpha)
    v1 = text_format.Parse(text_format.MessageToString(v1alpha).replace("v1alpha", "v1"), FileDescriptorProto())
    v1.options.ClearField("deprecated")
    _POOL.AddSerializedFile(v1.SerializeToString())
    # The messages of both versions are identical except for the name of their package, which is never sent.
    handler = grpc.stream_stream_rpc_method_handler(
        reflection.aio.ReflectionServicer(services, pool=_SymbolPool()).ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return {f"/{service}/ServerReflectionInfo": handler for service in _REFLECTIONS}


def _channelz_handlers() -> Mapping[str, Handler]:
    from google.protobuf import message_factory  # noqa: PLC0415 - see Introspection
    from grpc_channelz.v1 import channelz, channelz_pb2  # noqa: PLC0415 - see Introspection

    servicer = channelz.aio.ChannelzServicer()
    methods: Any = channelz_pb2.DESCRIPTOR.services_by_name["Channelz"].methods
    return {
        f"/{_CHANNELZ}/{method.name}": grpc.unary_unary_rpc_method_handler(
            getattr(servicer, method.name),
            message_factory.GetMessageClass(method.input_type).FromString,
            message_factory.GetMessageClass(method.output_type).SerializeToString,
        )
        for method in methods
    }


class _SymbolPool:
    """The default pool, which also finds the file of a method. Its own look-up finds that of any other symbol."""

    def __getattr__(self, name: str) -> Any:
        return getattr(_POOL, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 - as DescriptorPool has it
        """Return the file that declares a symbol. Raises KeyError."""
        try:
            return _POOL.FindFileContainingSymbol(symbol)
        except KeyError:
            return _POOL.FindMethodByName(symbol).containing_service.file
