"""A collector that takes every trace and keeps none: `python -m bench.otlp_sink PORT`."""

import sys

from aiohttp import web


async def _take(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(content_type="application/x-protobuf")


def main() -> None:
    """Serve on loopback until told to stop."""
    app = web.Application()
    app.router.add_post("/v1/traces", _take)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)


if __name__ == "__main__":
    main()
