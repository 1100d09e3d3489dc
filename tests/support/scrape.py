"""What a process says on /metrics, read with prometheus-client's own parsers."""

import http.client
from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Samples:
    """All samples of a process at one moment."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self.families = list(families)
        self._values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        """The value of exactly this series. Raises KeyError when there is none."""
        return self._values[name, frozenset(labels.items())]

    def total(self, name: str, **labels: str) -> float:
        """The sum of all series that have these labels, whatever else they have."""
        wanted = labels.items()
        return sum(value for (each, has), value in self._values.items() if each == name and wanted <= has)

    @property
    def series(self) -> int:
        return len(self._values)


def ask(port: int, accept: str = "") -> tuple[str, str]:
    """The content type and the text."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/metrics", headers={"Accept": accept} if accept else {})
        response = connection.getresponse()
        text = response.read().decode()
        assert response.status == 200, text
        return response.headers["Content-Type"], text
    finally:
        connection.close()


def scrape(port: int, accept: str = "") -> Samples:
    content_type, text = ask(port, accept)
    parse = parse_openmetrics if content_type.startswith("application/openmetrics-text") else parse_text
    return Samples(parse(text))
