"""Create a throw-away authority and a certificate for each service: `make certs`, and compose.tls.yaml."""

import argparse
import sys
from pathlib import Path

from deploy.certs import folders


def main() -> int:
    """Parse the command line, write the files, and return the exit code."""
    parser = argparse.ArgumentParser(prog="deploy.certs", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the files go")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--for-containers",
        action="store_const",
        dest="make",
        const=folders.for_containers,
        help="a folder for each service, with owners and with passwords for Redis; renew only what is due",
    )
    kind.add_argument(
        "--for-kubernetes",
        action="store_const",
        dest="make",
        const=folders.for_kubernetes,
        help="the same without owners, with a kustomization that makes Secrets from it",
    )
    parser.set_defaults(make=folders.for_this_machine)
    given = parser.parse_args()
    try:
        made = given.make(given.folder)
    except OSError as error:
        sys.stderr.write(f"{given.folder}: the files can't be written ({error.strerror}: {error.filename})\n")
        return 1
    sys.stdout.write(f"{given.folder}: {', '.join(made) or 'nothing is due'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
