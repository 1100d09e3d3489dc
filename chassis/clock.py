import time

# CLOCK_MONOTONIC stands still on Linux while the machine sleeps; on macOS it goes on and there is no other.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady() -> float:
    """Return the seconds of a clock that nobody sets and that goes on while the machine sleeps, from any origin."""
    return time.clock_gettime(_STEADY)
