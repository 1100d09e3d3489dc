"""What a process says on /metrics, read with prometheus-client's own parser."""

import http.client
from collections.abc import Iterable
from contextlib import closing

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families


class Samples:
    """All samples of a process at one moment."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        """The value of exactly this series. Raises KeyError when there is none."""
        return self._values[name, frozenset(labels.items())]

    def total(self, name: str, **labels: str) -> float:
        """The sum of all series that have these labels, whatever else they have."""
        wanted = labels.items()
        return sum(value for (each, has), value in self._values.items() if each == name and wanted <= has)


def scrape(port: int) -> Samples:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        text = response.read().decode()
        assert response.status == 200, text
    return Samples(text_string_to_metric_families(text))
