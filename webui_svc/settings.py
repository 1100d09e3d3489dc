from collections.abc import Mapping
from typing import ClassVar

from chassis.redis_settings import RedisSettings
from chassis.settings import Pace, tcp_port


class WebuiSettings(RedisSettings):
    """What webui can be told. The pace is no concern of it: it shows the one that the workers report."""

    traced: ClassVar[Mapping[Pace, float]] = dict.fromkeys(Pace, 1.0)

    port: int = tcp_port(8_000)
    metrics_port: int = tcp_port(9_104)
