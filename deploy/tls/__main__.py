"""Makes a throw-away authority and a certificate for each service: `make certs`, and compose.tls.yaml."""

import argparse
import sys
from pathlib import Path

from deploy.tls import folders


def main() -> int:
    """What the command line asks for; the exit code."""
    parser = argparse.ArgumentParser(prog="deploy.tls", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the files go")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--for-containers",
        action="store_true",
        help="a folder for each service, with owners, and with passwords for Redis; renew only what is due",
    )
    kind.add_argument(
        "--for-kubernetes",
        action="store_true",
        help="the same without owners, with a kustomization that makes Secrets of it",
    )
    given = parser.parse_args()
    make = folders.for_this_machine
    if given.for_containers:
        make = folders.for_containers
    elif given.for_kubernetes:
        make = folders.for_kubernetes
    try:
        made = make(given.folder)
    except OSError as error:
        sys.stderr.write(f"{given.folder}: the files can't be written ({error.strerror}: {error.filename})\n")
        return 1
    sys.stdout.write(f"{given.folder}: {', '.join(made) or 'nothing is due'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
