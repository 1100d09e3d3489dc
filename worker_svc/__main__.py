"""The process worker."""

import sys

from chassis import quick_start

with quick_start.imports():
    from chassis import process
    from worker_svc.settings import WorkerSettings
    from worker_svc.worker import worker


def main() -> int:
    """Mine until stopped, and return the exit code."""
    return process.run("worker", WorkerSettings, worker, "rng", "hasher", "redis")


if __name__ == "__main__":
    sys.exit(main())
