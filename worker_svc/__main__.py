import sys

from chassis import process
from worker_svc.service import worker
from worker_svc.settings import WorkerSettings

if __name__ == "__main__":
    sys.exit(process.run("worker", WorkerSettings, worker, "rng", "hasher"))
