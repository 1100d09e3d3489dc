"""Mutual TLS of a gRPC server: who may connect, who may call what, and what is said of those who may not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc

from chassis import log
from chassis.grpc_server.allow_list import AllowList, Callers
from chassis.settings import CertificateFiles
from chassis.tls import FLUSH_INTERVAL_S, RenewedCertificates, handshake_log, server_credentials


class ServerTls:
    """What a server with TLS has beyond one without."""

    def __init__(self, certificates: RenewedCertificates, service: str, callers: Callers) -> None:
        self._credentials = server_credentials(certificates)
        self.allow_list = AllowList(service, callers)

    def add_port(self, server: grpc.aio.Server, address: str) -> None:
        """Have the server listen there, for those who have a certificate."""
        server.add_secure_port(address, self._credentials)


@contextlib.asynccontextmanager
async def server_tls(files: CertificateFiles | None, service: str, callers: Callers) -> AsyncIterator[ServerTls | None]:
    """TLS from these files, whose changes are looked for until the context is left; None without files.

    Raises SettingsError when they can't be used.
    """
    if files is None:
        yield None
        return
    certificates = RenewedCertificates(files)
    tls = ServerTls(certificates, service, callers)
    log.get().info("mutual TLS", certificate=str(files.cert), authority=str(files.ca))
    async with handshake_log("warning"):
        tasks = [asyncio.create_task(certificates.keep_checking()), asyncio.create_task(_flush(tls.allow_list))]
        try:
            yield tls
        finally:
            for task in tasks:
                task.cancel()
            tls.allow_list.close()


async def _flush(allow_list: AllowList) -> None:
    while True:
        await asyncio.sleep(FLUSH_INTERVAL_S)
        allow_list.flush()
