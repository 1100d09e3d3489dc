from aiohttp import web

SECURITY = {
    # Everything comes from here, nothing is inline, and nobody may put the page into a frame.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Security for every response; what does not say itself how long it is kept is never kept."""
    response.headers.update(SECURITY)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.popall("Server", None)  # nobody needs to know the versions
