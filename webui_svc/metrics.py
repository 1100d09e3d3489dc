from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from webui_svc.board import Board
from webui_svc.browsers import Browsers
from webui_svc.feed import Feed


class WebuiMetrics(Collector):
    """What the page's server can tell of its browsers, and of what it reads."""

    def __init__(self, browsers: Browsers, board: Board, feed: Feed) -> None:
        self._browsers = browsers
        self._board = board
        self._feed = feed

    def collect(self) -> Iterator[Metric]:
        """What Prometheus is told."""
        yield GaugeMetricFamily("dockercoins_webui_streams", "Streams of events that are open", len(self._browsers))
        yield CounterMetricFamily(
            "dockercoins_webui_streams_dropped",
            "Streams that were cut because the browser took nothing for 30 s",
            self._browsers.dropped,
        )
        yield CounterMetricFamily(
            "dockercoins_webui_streams_refused",
            "Streams that were refused because 1,500 were open, or STREAMS_PER_CLIENT at one address",
            self._browsers.refused,
        )
        lag = HistogramMetricFamily(
            "dockercoins_webui_lag_seconds",
            "Seconds from a report's being written to Redis to its being told to browsers",
        )
        lag.add_metric((), list(self._feed.lag.cumulative()), self._feed.lag.seconds)
        yield lag
        yield GaugeMetricFamily("dockercoins_webui_redis", "1 while Redis answers", self._board.redis)
        yield CounterMetricFamily(
            "dockercoins_webui_malformed_entries",
            "Entries of Redis that were skipped because they are malformed",
            self._feed.malformed.times,
        )
