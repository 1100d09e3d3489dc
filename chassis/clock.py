import time

# CLOCK_MONOTONIC stands still on Linux while the machine sleeps; on macOS it goes on and there is no other.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady() -> float:
    """Return the seconds of a clock that is never set and runs on while the machine sleeps; its origin is arbitrary."""
    return time.clock_gettime(_STEADY)
