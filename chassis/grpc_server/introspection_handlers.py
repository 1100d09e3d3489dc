"""The handlers of reflection and channelz, made of the libraries' servicers."""

from collections.abc import Iterable, Mapping
from typing import Any

import grpc
from google.protobuf import descriptor_pool, message_factory, text_format
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_channelz.v1 import channelz, channelz_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from chassis.grpc_server.introspection import CHANNELZ, REFLECTION_V1, REFLECTION_V1ALPHA
from chassis.grpc_server.method_interceptor import Handler

_POOL = descriptor_pool.Default()


def make(services: Iterable[str]) -> Mapping[str, Handler]:
    """Return the handlers by the paths of their methods; reflection lists these services."""
    return {**_reflection(services), **_channelz()}


def _reflection(services: Iterable[str]) -> Mapping[str, Handler]:
    _add_v1_to_pool()
    servicer = reflection.aio.ReflectionServicer(services, pool=_SymbolPool())
    # The messages of v1 and v1alpha are the same but for the name of their package, which is never sent.
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return {f"/{version}/ServerReflectionInfo": handler for version in (REFLECTION_V1, REFLECTION_V1ALPHA)}


def _channelz() -> Mapping[str, Handler]:
    servicer = channelz.aio.ChannelzServicer()
    methods: Any = channelz_pb2.DESCRIPTOR.services_by_name["Channelz"].methods
    return {
        f"/{CHANNELZ}/{method.name}": grpc.unary_unary_rpc_method_handler(
            getattr(servicer, method.name),
            message_factory.GetMessageClass(method.input_type).FromString,
            message_factory.GetMessageClass(method.output_type).SerializeToString,
        )
        for method in methods
    }


def _add_v1_to_pool() -> None:
    """Have reflection describe its own v1, of which grpcio-reflection has neither a module nor a descriptor."""
    v1alpha = FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(v1alpha)
    v1 = text_format.Parse(text_format.MessageToString(v1alpha).replace("v1alpha", "v1"), FileDescriptorProto())
    v1.options.ClearField("deprecated")
    _POOL.AddSerializedFile(v1.SerializeToString())


class _SymbolPool:
    """The default pool, which finds the file of a method, too. Its own look-up finds that of any other symbol."""

    def __getattr__(self, name: str) -> Any:
        return getattr(_POOL, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 - as DescriptorPool has it
        """Return the file that declares a symbol. Raises KeyError."""
        try:
            return _POOL.FindFileContainingSymbol(symbol)
        except KeyError:
            return _POOL.FindMethodByName(symbol).containing_service.file
