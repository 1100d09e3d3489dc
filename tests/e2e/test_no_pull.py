"""An image of our name in a registry is somebody else's."""

import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support.compose_project import Start, docker


class Registry(BaseHTTPRequestHandler):
    """Has nothing, and knows what it was asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    do_HEAD = do_GET  # noqa: N815 - the base class looks for this name

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[tuple[str, list[str]]]:
    """Its address, which engines take for one that needs no TLS, and what it was asked for."""
    asked: list[str] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Asked", (Registry,), {"asked": asked})) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_up_builds_what_is_missing_and_pulls_nothing(
    tag: str, registry: tuple[str, list[str]], make_project: Start
) -> None:
    address, asked = registry
    with pytest.raises(subprocess.CalledProcessError):
        docker("pull", f"{address}/rng:v1")
    if not asked:
        pytest.skip("the engine is not on this machine, it can't ask a registry here")
    asked.clear()
    project = make_project(REGISTRY=address, TAG=f"{tag}-pulled")
    try:
        project.up("rng", "hasher")
        assert not asked
    finally:
        project.down()
        project.remove_images()
