"""Errors of Redis in one line: what Redis said and, where waiting does not help, what must be changed."""

import re

from redis.exceptions import (
    AuthenticationError,
    ClusterCrossSlotError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
)

# The client adds this when an encrypted connection ends before the first response.
BEFORE_ANY_REPLY = "before any reply"

# The script's error begins with this where Redis may evict what was counted.
EVICTION = "EVICTION"

# Characters of what Redis said.
MAX_LENGTH = 400

_NEEDS_PERMISSION = "the user in REDIS_URL must have the right to it"
_IS_CLUSTER_NODE = "it is a node of a cluster, for which REDIS_URL must begin with redis-cluster://"

_REMEDIES_BY_KIND: tuple[tuple[type[Exception], str], ...] = (
    (AuthenticationError, "REDIS_URL must name a user, and it or REDIS_PASSWORD_FILE have the password"),
    (NoPermissionError, _NEEDS_PERMISSION),
    (MovedError, _IS_CLUSTER_NODE),
    (OutOfMemoryError, "maxmemory must leave room for what is counted"),
    (ClusterCrossSlotError, _IS_CLUSTER_NODE),
)

_REMEDIES_BY_WORDS = (
    (re.compile(rf"^{EVICTION}"), "it must be noeviction, or one that begins with volatile-"),
    (re.compile(r"^ACL failure in script"), _NEEDS_PERMISSION),
    (
        re.compile(r"CERTIFICATE_VERIFY_FAILED"),
        "it must show a certificate of the authority in TLS_CA, for the host in REDIS_URL",
    ),
    (
        re.compile(r"ALERT_\w*(?:CERTIFICATE|UNKNOWN_CA)"),
        "it must be shown a certificate in TLS_CERT that its authority has issued and that is valid now",
    ),
    (
        re.compile(BEFORE_ANY_REPLY),
        "it may want a certificate in TLS_CERT that its authority has issued and that is valid now: its log says",
    ),
    (
        re.compile(r"WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|PACKET_LENGTH_TOO_LONG"),
        "it speaks no TLS, for which REDIS_URL must begin with redis://",
    ),
)

# An error of chassis.settings, which already names the file of ours that is wrong.
_OUR_FILES = re.compile(r"(?:REDIS_PASSWORD_FILE|TLS_\w+)=")


def describe(error: BaseException) -> str:
    """Return the error in one line, with a remedy where it is permanent. It holds no secret: Redis sends none back."""
    text = _text(error)
    remedy = _remedy(error, text)
    return f"{text}; {remedy}" if remedy else text


def is_permanent(error: BaseException) -> bool:
    """Return whether the error stays until a setting, a file or Redis's configuration is changed."""
    text = _text(error)
    return bool(_OUR_FILES.match(text) or _remedy(error, text))


def is_eviction(error: BaseException) -> bool:
    """Return whether Redis may have evicted what was counted."""
    return str(error).startswith(EVICTION)


def _text(error: BaseException) -> str:
    return " ".join(str(error).split())[:MAX_LENGTH] or type(error).__name__


def _remedy(error: BaseException, text: str) -> str:
    if _OUR_FILES.match(text):
        return ""
    # redis-py wraps what goes wrong while it connects in a ConnectionError.
    errors = (error, error.__cause__)
    by_kind = [remedy for kind, remedy in _REMEDIES_BY_KIND if any(isinstance(each, kind) for each in errors)]
    by_words = [remedy for words, remedy in _REMEDIES_BY_WORDS if words.search(text)]
    return next(iter(by_kind + by_words), "")
