from collections.abc import Iterator

import pytest
from support.otlp_receiver import OtlpReceiver, otlp_receiver


@pytest.fixture
def collector() -> Iterator[OtlpReceiver]:
    with otlp_receiver() as receiver:
        yield receiver
