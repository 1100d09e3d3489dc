"""HTTP/2 frame by frame, for clients that do what no library lets them."""

import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager

import hpack
from hyperframe.frame import (
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from support.served import HASHER, RNG

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# The headers of a gRPC call but for its path. hpack's types want both kinds of strings.
CALL: dict[bytes | str, bytes | str] = {
    ":method": "POST",
    ":scheme": "http",
    ":authority": "x",
    "te": "trailers",
    "content-type": "application/grpc",
}

STREAMS = {"rng": f"/{RNG}/StreamRandomBytes", "hasher": f"/{HASHER}/StreamHashes"}
CALLS = {"rng": f"/{RNG}/GetRandomBytes", "hasher": f"/{HASHER}/Hash"}
SIZE_4 = b"\x08\x04"  # GetRandomBytesRequest(size=4), and a HashRequest with nothing to hash

# All addresses of loopback are this machine's on Linux.
ABUSER = "127.0.0.2"

# Bytes of data that a frame may carry, unless the server says otherwise.
FRAME_SIZE = 16_384


def message(payload: bytes) -> bytes:
    """As gRPC frames it: not compressed, the length, the bytes."""
    return b"\0" + len(payload).to_bytes(4, "big") + payload


class RawClient(AbstractContextManager["RawClient"]):
    """A connection that sends any frames, and keeps what it receives."""

    def __init__(self, port: int, *, source: str = "127.0.0.1", settings: dict[int, int] | None = None) -> None:
        """Connect from this address, any of loopback's."""
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0))
        self.closed = False
        self.received: list[Frame] = []
        # The gRPC status and its message of each stream that ended, and the streams that were reset.
        self.statuses: dict[int, tuple[int, str]] = {}
        self.resets: set[int] = set()
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self._unread = b""
        self._next_stream = 1
        self._initial_window = 65_535
        # By how much the window of each stream differs from the initial one, and that of the connection, which is 0.
        self._windows: Counter[int] = Counter()
        self._send_bytes(PREFACE)
        self.send(SettingsFrame(0, settings=settings or {}))

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _send_bytes(self, raw: bytes) -> None:
        try:
            self._socket.sendall(raw)
        except OSError:
            self.closed = True

    def send(self, *frames: Frame) -> None:
        self._send_bytes(b"".join(frame.serialize() for frame in frames))

    def opening(self, path: str, metadata: Mapping[str, str] | None = None) -> HeadersFrame:
        """Return the frame that begins a call."""
        block = self._encoder.encode([*CALL.items(), (":path", path), *(metadata or {}).items()])
        frame = HeadersFrame(self._next_stream, block, flags=["END_HEADERS"])
        self._next_stream += 2
        return frame

    def open(self, path: str, payload: bytes | None = None) -> int:
        """Begin a call, perhaps with a first message, and return its stream."""
        opening = self.opening(path)
        self.send(opening)
        if payload is not None:
            self.send_data(opening.stream_id, message(payload))
        return int(opening.stream_id)

    def send_data(self, stream: int, raw: bytes) -> None:
        """Send bytes of a call, as many as the server's windows have room for."""
        while raw and not self.closed:
            room = min(FRAME_SIZE, 65_535 + self._windows[0], self._initial_window + self._windows[stream])
            if room > 0:
                part, raw = raw[:room], raw[room:]
                self.send(DataFrame(stream, part))
                self._windows.subtract({0: len(part), stream: len(part)})
            elif not self.read(0.2, until_any=True):
                return

    def read(self, seconds: float, *, until_any: bool = False) -> list[Frame]:
        """Return the frames that come in this time, until the first of them or until the server closes."""
        until = time.monotonic() + seconds
        frames: list[Frame] = []
        while not self.closed and not (frames and until_any) and (left := until - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                more = self._socket.recv(1 << 20)
            except TimeoutError:
                break
            except OSError:
                more = b""
            self.closed = not more
            self._unread += more
            frames += self._parse()
        self._socket.settimeout(30)
        self.received += frames
        return frames

    def _parse(self) -> Iterator[Frame]:
        while len(self._unread) >= 9:
            frame, length = Frame.parse_frame_header(memoryview(self._unread[:9]))
            if len(self._unread) < 9 + length:
                return
            frame.parse_body(memoryview(self._unread[9 : 9 + length]))
            self._unread = self._unread[9 + length :]
            acknowledged = "ACK" in frame.flags
            if isinstance(frame, HeadersFrame):
                headers = {str(key): str(value) for key, value in self._decoder.decode(frame.data)}
                if "grpc-status" in headers:
                    status = int(headers["grpc-status"]), headers.get("grpc-message", "")
                    self.statuses[frame.stream_id] = status
            elif isinstance(frame, RstStreamFrame):
                self.resets.add(frame.stream_id)
            elif isinstance(frame, WindowUpdateFrame):
                self._windows[frame.stream_id] += frame.window_increment
            elif isinstance(frame, SettingsFrame) and not acknowledged:
                self._initial_window = frame.settings.get(SettingsFrame.INITIAL_WINDOW_SIZE, self._initial_window)
                self.send(SettingsFrame(0, flags=["ACK"]))
            elif isinstance(frame, PingFrame) and not acknowledged:
                self.send(PingFrame(0, frame.opaque_data, flags=["ACK"]))
            yield frame

    def until_ended(self, stream: int, limit: float = 30) -> bool:
        """Wait for the end of a call, and return whether that is a status and not only a reset of its stream."""
        until = time.monotonic() + limit
        while stream not in self.statuses.keys() | self.resets and time.monotonic() < until:
            self.read(0.05, until_any=True)
        return stream in self.statuses

    def until_closed(self, limit: float) -> bool:
        """Return whether the server closes the connection within a time in seconds."""
        self.read(limit)
        return self.closed

    def answers(self, path: str, request: bytes) -> bool:
        """Return whether a single call over this connection ends well."""
        stream = self.open(path, request)
        self.send(DataFrame(stream, b"", flags=["END_STREAM"]))
        return self.until_ended(stream) and self.statuses[stream][0] == 0
