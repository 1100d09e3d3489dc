"""Makes the API's Python modules from protos/ while the package is built, and when run as a script."""

import shutil
import sys
from importlib import resources
from pathlib import Path
from typing import Any

from grpc_tools import protoc
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent
PROTOS = ROOT / "protos"
GENERATED = ROOT / "generated"


def generate() -> None:
    """Replace generated/ by the modules, stubs and typed interfaces of every file under protos/, if there is any.

    Raises SystemExit when protoc refuses a file; it has said why on standard error.
    """
    shutil.rmtree(GENERATED, ignore_errors=True)
    GENERATED.mkdir()
    scripts = Path(sys.executable).parent
    plugins = [
        f"--plugin={name}={shutil.which(name) or scripts / name}"
        for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
    ]
    outputs = [f"--{kind}_out={GENERATED}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    well_known = resources.files("grpc_tools") / "_proto"
    files = sorted(str(path) for path in PROTOS.rglob("*.proto"))
    if not files:  # webui's image is built without the API
        return
    code = protoc.main(["protoc", f"--proto_path={PROTOS}", f"--proto_path={well_known}", *plugins, *outputs, *files])
    if code:
        raise SystemExit(f"protoc ended with exit code {code}")


class ApiBuildHook(BuildHookInterface[Any]):
    """Generates the API before hatchling collects the wheel's files."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Hatchling is about to collect the files."""
        generate()


if __name__ == "__main__":
    generate()
