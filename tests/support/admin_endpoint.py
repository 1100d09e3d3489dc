"""What a process answers over HTTP: its page, its probes and its metrics."""

import http.client
from collections.abc import Iterable
from contextlib import closing

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families


def http_get(port: int, path: str, timeout_s: float = 2) -> tuple[int, str]:
    """Return the status and text of a response, over a connection of its own."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()


class Samples:
    """All samples of a process at one moment."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        """Return the value of exactly this series. Raises KeyError when there is none."""
        return self._values[name, frozenset(labels.items())]

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of all series that have at least these labels."""
        wanted = labels.items()
        return sum(value for (each, has), value in self._values.items() if each == name and wanted <= has)


def scrape(port: int) -> Samples:
    status, text = http_get(port, "/metrics", 10)
    assert status == 200, text
    return Samples(text_string_to_metric_families(text))
