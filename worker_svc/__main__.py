import sys

from chassis import quick_start

with quick_start.imports():
    from chassis import process
    from worker_svc.service import worker
    from worker_svc.settings import WorkerSettings


def main() -> int:
    """Mine, or do what the first word says; the exit code."""
    match sys.argv[1:]:
        case []:
            return process.run("worker", WorkerSettings, worker, "rng", "hasher", "redis")
        case ["load-test", *line]:
            from worker_svc.load_test import command  # noqa: PLC0415 - what mines needs none of it

            return command.main(line)
        case _:
            return process.refuse("worker", f"{sys.argv[1]!r} is not allowed: it must be load-test, or nothing to mine")


if __name__ == "__main__":
    sys.exit(main())
