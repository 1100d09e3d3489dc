"""Who may do what in Redis, as its ACL file says it.

It is described at https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/.
A user may do what one of its selectors, in parentheses, or what stands before them allows whole: the command and all of
its keys. What a script calls is asked of the user, too.
"""

import hashlib
from collections.abc import Mapping

WORKER = "worker"
WEBUI = "webui"

_DEFAULT = "off resetpass allkeys allchannels allcommands"
"""Nobody is this user, neither with a password nor by saying nothing. It keeps its rights all the same: where
https://github.com/redis/redis/issues/14541 is not mended, Redis loads its append-only file as this user, and drops the
transactions that the user may not do, which is all that scripts have written (measured with 7.0.15 and 8.0.2)."""

_HEALTH = "on nopass resetkeys resetchannels -@all +ping"
"""The health check, which has shown a certificate: it may ask whether Redis lives, with any password."""

_LEDGER_KEYS = "~hashes ~coins ~wallet ~reports ~totals ~totals:* ~worker:* ~workers ~pending_report"

_WORKER = (
    # Redis can't tell one script from another by its user; what any may do is bound by what follows.
    f"+ping +info|memory +script|load +evalsha +time +multi +exec {_LEDGER_KEYS}",
    "(~hashes ~coins +get +incrby +set)",
    "(~wallet +hlen +hset)",
    "(~reports +xlen +xinfo|stream +xadd)",
    "(~totals ~totals:* +hlen +hget +hincrbyfloat +hkeys +hdel +expire)",
    "(~worker:* +hget +hset +del)",
    "(~workers +zcard +zscore +zadd +zrangebyscore +zrem)",
    "(~pending_report +get +set +del)",
    # A load test's report, with --publish.
    "(~load_tests +lpush +ltrim)",
)

_WEBUI = (
    "+ping +time +scan",
    "(%R~hashes %R~coins +mget)",
    "(%R~reports +xread +xrange +xrevrange)",
    "(%R~totals %R~totals:* %R~worker:* +hgetall +hmget)",
    "(%R~load_tests +llen +lindex +lrange)",
)

USERS = {WORKER: " ".join(_WORKER), WEBUI: " ".join(_WEBUI)}


def acl_file(passwords: Mapping[str, bytes]) -> bytes:
    """The file's content; of the passwords it has their SHA-256, which is as good for what is random."""
    lines = [f"user default {_DEFAULT}", f"user health {_HEALTH}"]
    for name, rules in USERS.items():
        digest = hashlib.sha256(passwords[name]).hexdigest()
        lines.append(f"user {name} on #{digest} resetkeys resetchannels -@all {rules}")
    return "".join(f"{line}\n" for line in lines).encode()
