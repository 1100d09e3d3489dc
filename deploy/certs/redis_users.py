"""The users of Redis and their rights, as an ACL file.

See https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/. A user may do what one of its
selectors, in parentheses, or the rules before them allow as a whole: the command and all of its keys. The rights of the
user also apply to the commands that a script calls.
"""

import hashlib
from collections.abc import Mapping

WORKER = "worker"
WEBUI = "webui"

# Disabled, so that an unauthenticated client can do nothing, but with all rights: where
# https://github.com/redis/redis/issues/14541 is not fixed, Redis loads its append-only file as this user, and drops the
# transactions that the user may not run, which is all that scripts have written (measured with 7.0.15 and 8.0.2).
_DEFAULT = "off resetpass allkeys allchannels allcommands"

# The health check, which has shown a certificate, can PING with any password.
_HEALTH = "on nopass resetkeys resetchannels -@all +ping"

_LEDGER_KEYS = (
    "~hashes ~coins ~wallet ~reports ~totals ~totals:* ~worker:* ~workers ~pending_report ~annotations ~live_workers"
)

_WORKER = (
    # An ACL can't name a script; the selectors below limit what any script can do.
    f"+ping +info|memory +script|load +evalsha +time +multi +exec {_LEDGER_KEYS}",
    "(~hashes ~coins +get +incrby +set)",
    "(~wallet +hlen +hset)",
    "(~reports ~annotations +xlen +xinfo|stream +xadd +xrevrange +xdel +xtrim)",
    "(~totals ~totals:* +hlen +hget +hincrbyfloat +hkeys +hdel +expire)",
    "(~worker:* +hget +hset +del)",
    "(~workers ~live_workers +zcard +zscore +zadd +zrangebyscore +zrem)",
    "(~pending_report +get +set +del)",
    # A load test's report, with --publish.
    "(~load_tests +lpush +ltrim)",
)

_WEBUI = (
    "+ping +time",
    "(%R~hashes %R~coins +mget)",
    "(%R~reports %R~annotations +xread +xrange +xrevrange)",
    "(%R~totals %R~totals:* %R~worker:* +hgetall +hmget)",
    "(%R~workers +zrevrange)",
    "(%R~load_tests +lrange)",
)

USERS = {WORKER: " ".join(_WORKER), WEBUI: " ".join(_WEBUI)}


def acl_file(passwords: Mapping[str, bytes]) -> bytes:
    """Return the content of the ACL file. It has the SHA-256 of each password, which is enough for random ones."""
    lines = [f"user default {_DEFAULT}", f"user health {_HEALTH}"]
    for name, rules in USERS.items():
        digest = hashlib.sha256(passwords[name]).hexdigest()
        lines.append(f"user {name} on #{digest} resetkeys resetchannels -@all {rules}")
    return "".join(f"{line}\n" for line in lines).encode()
