"""What is wrong with Redis, in one line: what it said and, where waiting mends nothing, what does."""

import re

from redis.exceptions import (
    AuthenticationError,
    ClusterCrossSlotError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
)

BEFORE_ANY_ANSWER = "before any answer"
"""What the client adds when a connection that was encrypted ends so soon."""

EVICTION = "EVICTION"
"""How the error begins that a script answers where Redis may evict what was counted."""

MAX_LENGTH = 400
"""Characters of what others said."""

_BY_KIND: tuple[tuple[type[Exception], str], ...] = (
    (AuthenticationError, "REDIS_URL must name a user, and it or REDIS_PASSWORD_FILE have the password"),
    (NoPermissionError, "the user in REDIS_URL must have the right to it"),
    (MovedError, "it is a node of a cluster, for which REDIS_URL must begin with redis-cluster://"),
    (OutOfMemoryError, "maxmemory must leave room for what is counted"),
    (ClusterCrossSlotError, "it is a node of a cluster, for which REDIS_URL must begin with redis-cluster://"),
)

_BY_WORDS = (
    (re.compile(rf"^{EVICTION}"), "it must be noeviction, or one that begins with volatile-"),
    (re.compile(r"^ACL failure in script"), "the user in REDIS_URL must have the right to it"),
    (
        re.compile(r"CERTIFICATE_VERIFY_FAILED"),
        "it must show a certificate of the authority in TLS_CA, for the host in REDIS_URL",
    ),
    (
        re.compile(r"ALERT_\w*(?:CERTIFICATE|UNKNOWN_CA)"),
        "it must be shown a certificate in TLS_CERT that its authority has issued and that is valid now",
    ),
    (
        re.compile(BEFORE_ANY_ANSWER),
        "it may want a certificate in TLS_CERT that its authority has issued and that is valid now: its log says",
    ),
    (
        re.compile(r"WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|PACKET_LENGTH_TOO_LONG"),
        "it speaks no TLS, for which REDIS_URL must begin with redis://",
    ),
)

_OUR_FILES = re.compile(r"(?:REDIS_PASSWORD_FILE|TLS_\w+)=")
"""How a line begins that says already which of our own files is wrong."""


def cause(error: BaseException) -> str:
    """The line. There is no secret in it: Redis and its client say none."""
    said = _said(error)
    remedy = _remedy(error, said)
    return f"{said}; {remedy}" if remedy else said


def must_be_mended(error: BaseException) -> bool:
    """Whether somebody has to do something, however long one waits."""
    said = _said(error)
    return bool(_OUR_FILES.match(said) or _remedy(error, said))


def is_eviction(error: BaseException) -> bool:
    """Whether what Redis was told may be gone, and what was counted of it not."""
    return str(error).startswith(EVICTION)


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:MAX_LENGTH] or type(error).__name__


def _remedy(error: BaseException, said: str) -> str:
    if _OUR_FILES.match(said):
        return ""
    # What goes wrong while a client connects it makes an error of connecting.
    errors = (error, error.__cause__)
    by_kind = [remedy for kind, remedy in _BY_KIND if any(isinstance(each, kind) for each in errors)]
    by_words = [remedy for words, remedy in _BY_WORDS if words.search(said)]
    return next(iter(by_kind + by_words), "")
