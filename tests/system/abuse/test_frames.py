"""What HTTP/2 allows, too much of it. Most of the bounds are gRPC's own; that they are in force is tested here."""

import time
from collections.abc import Callable

import pytest
from hyperframe.frame import ContinuationFrame, HeadersFrame
from system.abuse.raw_h2 import (
    DataFrame,
    Frame,
    PingFrame,
    RawClient,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
    message,
)
from system.abuse.victim import CALL, PATHS, SIZE_4, Victim

OK = 0
RESOURCE_EXHAUSTED = 8


def pings(client: RawClient) -> list[Frame]:
    return [PingFrame(0, b"12345678")]


def settings(client: RawClient) -> list[Frame]:
    return [SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 65_535})]


def resets(client: RawClient) -> list[Frame]:
    opening = client.opening(PATHS["rng"])
    return [opening, RstStreamFrame(opening.stream_id, 8)]


def calls_that_never_say_anything(client: RawClient) -> list[Frame]:
    return [client.opening(CALL)]


def empty_data(client: RawClient) -> list[Frame]:
    return [DataFrame(1, b"")]


def tiny_windows(client: RawClient) -> list[Frame]:
    return [WindowUpdateFrame(0, 1)]


@pytest.mark.parametrize("frames", [pings, settings, resets, calls_that_never_say_anything, empty_data, tiny_windows])
def test_a_flood_of_frames(rng: Victim, frames: Callable[[RawClient], list[Frame]]) -> None:
    with rng.unharmed(), RawClient(rng.port) as polite:
        with RawClient(rng.port) as client:
            client.read(0.1)
            client.open(PATHS["rng"])
            for _ in range(100):
                if not client.send(*(frame for _ in range(200) for frame in frames(client))):
                    break
            assert rng.ready(1), "while it is on"
        assert answers(polite)


def answers(client: RawClient) -> bool:
    """Whether a call gets its answer, over a connection that was open all the time."""
    stream = client.open(CALL, SIZE_4)
    client.send(DataFrame(stream, b"", flags=["END_STREAM"]))
    return client.until_ended(stream) and client.statuses[stream][0] == OK


def test_who_pings_too_often_is_cut_off(rng: Victim) -> None:
    with RawClient(rng.port) as client:
        client.read(0.1)
        client.send(*(PingFrame(0, b"12345678") for _ in range(10)))
        assert client.until_closed(5)
        assert client.goaway is not None
        assert client.goaway.additional_data == b"too_many_pings"


@pytest.mark.parametrize(("size", "status"), [(7_000, OK), (17_000, RESOURCE_EXHAUSTED), (500_000, RESOURCE_EXHAUSTED)])
def test_metadata_beyond_the_bound_is_refused_with_what_it_is(rng: Victim, size: int, status: int) -> None:
    with rng.unharmed(), RawClient(rng.port) as client:
        client.read(0.1)
        opening = client.opening(CALL, [(f"x-{number}", "v" * 1_000) for number in range(size // 1_000)])
        first, *others = (opening.data[at : at + 16_000] for at in range(0, len(opening.data), 16_000))
        frames = [HeadersFrame(opening.stream_id, first), *(ContinuationFrame(opening.stream_id, o) for o in others)]
        frames[-1].flags.add("END_HEADERS")
        client.send(*frames)
        client.say(opening.stream_id, message(SIZE_4), last=True)
        assert client.until_ended(opening.stream_id), client.received
        code, text = client.statuses[opening.stream_id]
        assert code == status
        assert status == OK or "16384" in text
        assert answers(client)


@pytest.mark.parametrize("name", ["rng", "hasher"])
def test_a_message_beyond_the_bound_is_refused_before_it_is_read(request: pytest.FixtureRequest, name: str) -> None:
    victim: Victim = request.getfixturevalue(name)
    bound = {"rng": 4 * 1_024, "hasher": 2 * 1_024 * 1_024 + 64 * 1_024}[name]
    with victim.unharmed(), RawClient(victim.port) as client:
        client.read(0.1)
        stream = client.open(PATHS[name])
        client.say(stream, b"\0" + (bound + 1).to_bytes(4, "big"))
        # Where the refusal comes before the call has begun, gRPC only resets the stream.
        if client.until_ended(stream):
            code, text = client.statuses[stream]
            assert code == RESOURCE_EXHAUSTED
            assert str(bound) in text
        else:
            assert stream in client.resets, client.received


def test_a_connection_that_does_not_begin_to_speak_is_closed(rng: Victim) -> None:
    begin = time.monotonic()
    with RawClient(rng.port, preface=b"") as client:
        assert client.until_closed(30)
        assert 4 < time.monotonic() - begin < 15, client.received
