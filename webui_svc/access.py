"""Which requests are served: by the host that they name, and by a token, where these are set."""

import hashlib
import hmac
from collections.abc import Collection
from http import HTTPStatus

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

COOKIE = "dockercoins"

# Always served: what restarts a container that is not alive has no token.
ALWAYS = "/healthz"

_NO_TOKEN = (
    "This page needs a token: open it once as …/?token=TOKEN, or send the header `Authorization: Bearer TOKEN`. "  # noqa: S105 - no token
    "It is what TOKEN or TOKEN_FILE of webui has.\n"
)


class Access:
    """Checks each request before anything else does."""

    def __init__(self, hosts: Collection[str], token: str) -> None:
        """Allow these hosts, in lower case, or any if there are none; need this token unless it is empty."""
        self._hosts = frozenset(hosts)
        self._token = token.encode()
        # What a browser keeps opens the page, but does not reveal the token.
        self._cookie = hmac.new(self._token, b"the page's cookie", hashlib.sha256).hexdigest()

    @web.middleware
    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Return the handler's response, or refuse: 413 for a body, 421 for another host, 401 without the token.

        A request with the right token in its query is redirected to the same path without it, with a cookie.
        """
        if request.body_exists:
            return _refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "No request here has a body.\n")
        if request.path == ALWAYS:
            return await handler(request)
        if self._hosts and not self._hosts.issuperset(named := _hosts(request)):
            others = " and ".join(sorted(host[:64] for host in named - self._hosts))
            return _refusal(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"This page is not for {others!r}, which is not one of its ALLOWED_HOSTS.\n",
            )
        if self._token and not self._known(request):
            if self._is_token(request.query.get("token", "")):
                return self._welcome(request)
            refusal = _refusal(HTTPStatus.UNAUTHORIZED, _NO_TOKEN)
            refusal.headers[hdrs.WWW_AUTHENTICATE] = 'Bearer realm="dockercoins"'
            return refusal
        return await handler(request)

    def _known(self, request: web.Request) -> bool:
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(token.strip()):
            return True
        return hmac.compare_digest(request.cookies.get(COOKIE, "").encode(errors="replace"), self._cookie.encode())

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(errors="replace"), self._token)

    def _welcome(self, request: web.Request) -> web.Response:
        # Relative, and a cookie for this folder: whatever sub-path a proxy has us under.
        name = request.path.rpartition("/")[2]
        response = web.Response(status=HTTPStatus.SEE_OTHER, headers={hdrs.LOCATION: f"./{name}"})
        secure = request.headers.get("X-Forwarded-Proto", request.scheme) == "https"
        response.set_cookie(COOKIE, self._cookie, path="", httponly=True, samesite="Strict", secure=secure)
        return response


def _hosts(request: web.Request) -> set[str]:
    """Return the server's names in the request, in lower case and without ports: in its header and in a whole URL."""
    return {_name(request.headers.get(hdrs.HOST, "")), _name(request.host)}


def _name(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0].removeprefix("[").lower()
    return host.partition(":")[0].lower().removesuffix(".")


def _refusal(status: HTTPStatus, text: str) -> web.Response:
    response = web.Response(status=status, text=text)
    response.force_close()
    return response
