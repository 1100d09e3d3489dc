"""Generates the API's Python modules from protos/, copies the page's chart library, and compiles hasher's kernel.

It runs when the package is built, and as a script.
"""

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from importlib import metadata, resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from grpc_tools import protoc
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import mac_platforms, platform_tags

ROOT = Path(__file__).parent
PROTOS = ROOT / "protos"
GENERATED = ROOT / "generated"
KERNEL = ROOT / "hasher_svc/kernel.c"
LIBRARY = ROOT / "hasher_svc/libkernel.so"
CHART = ROOT / "webui_svc/static/vendor/uplot"
CHART_CONTENTS = ROOT / "webui_svc/uplot.cdx.json"


def generate() -> None:
    """Replace generated/ by the files under protos/ with their modules, stubs and typed interfaces.

    Raises SystemExit if protoc fails; it writes the reason to standard error.
    """
    shutil.rmtree(GENERATED, ignore_errors=True)
    GENERATED.mkdir()
    files = sorted(str(path) for path in PROTOS.rglob("*.proto"))
    if not files:  # webui's image is built without the API
        return
    well_known = resources.files("grpc_tools") / "_proto"
    outputs = [f"--{kind}_out={GENERATED}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    with TemporaryDirectory() as folder:
        plugins = [f"--plugin={_plugin(Path(folder), name)}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
        proto_paths = (f"--proto_path={PROTOS}", f"--proto_path={well_known}")
        code = protoc.main(["protoc", *proto_paths, *plugins, *outputs, *files])
    if code:
        raise SystemExit(f"protoc ended with exit code {code}")
    shutil.copytree(PROTOS, GENERATED, dirs_exist_ok=True)
    (GENERATED / "dockercoins/py.typed").touch()


def _plugin(folder: Path, name: str) -> Path:
    """Write a program that runs a console script; the one that pip makes fails in a path with a dollar sign."""
    (script,) = metadata.entry_points(group="console_scripts", name=name)
    program = folder / name
    call = f"from {script.module} import {script.attr}; {script.attr}()"
    program.write_text(f"#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(call)}\n")
    program.chmod(0o700)
    return program


def copy_chart() -> None:
    """Copy uPlot from the package ftmon, which contains the files of uPlot's npm package, as a module.

    Raises SystemExit if a file differs from that of the npm package.
    """
    if not CHART_CONTENTS.exists():  # the images of other services are built without the page
        return
    (chart,) = json.loads(CHART_CONTENTS.read_text())["components"]
    vendor = Path(str(metadata.distribution("ftmon").locate_file("ftmon/web/static/vendor")))
    CHART.mkdir(parents=True, exist_ok=True)
    for file in chart["components"]:
        content = (vendor / file["name"]).read_bytes()
        if hashlib.sha256(content).hexdigest() != file["hashes"][0]["content"]:
            raise SystemExit(f"{file['name']} of ftmon is not that of {chart['name']} {chart['version']}")
        if file["name"] == "uPlot.iife.min.js":
            (CHART / "uPlot.esm.js").write_bytes(content + b"\nexport { uPlot as default };\n")
        else:
            (CHART / file["name"]).write_bytes(content)


def compile_kernel(source: Path = KERNEL, library: Path = LIBRARY) -> bool:
    """Compile the source with CC (default: cc), and return whether that worked.

    Hasher works without the library, so a missing or failing compiler is only reported, in one line.
    """
    library.unlink(missing_ok=True)
    if not source.exists():  # the images of other services are built without it
        return False
    compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
    command = [*compiler, "-O3", "-fPIC", "-shared", "-o", str(library), str(source)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - the user sets CC
    except OSError as error:
        cause = str(error)
    except subprocess.CalledProcessError as error:
        cause = next(iter(error.stderr.splitlines()), f"exit code {error.returncode}")
    else:
        return True
    sys.stderr.write(f"hasher will hash with hashlib, since {compiler[0]} made no kernel: {cause}\n")
    return False


class BuildHook(BuildHookInterface[Any]):
    """Hatchling's hook for builds."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generate, copy and compile, before hatchling collects the files."""
        generate()
        copy_chart()
        if CHART_CONTENTS.exists():
            build_data["sbom_files"] = [str(CHART_CONTENTS.relative_to(ROOT))]
        compiled = self.target_name == "wheel" and compile_kernel()
        if compiled and version == "standard":  # an editable wheel only points here
            build_data["artifacts"].append(f"/{LIBRARY.relative_to(ROOT)}")
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{_platform()}"


def _platform() -> str:
    """Return the platform's tag, without a promise for every Linux since some year.

    For macOS, MACOSX_DEPLOYMENT_TARGET is the oldest version, as it is for the compiler.
    """
    target = os.environ.get("MACOSX_DEPLOYMENT_TARGET")
    if sys.platform == "darwin" and target:
        major, minor = (*map(int, target.split(".")), 0)[:2]
        return next(mac_platforms((major, minor)))
    return next(tag for tag in platform_tags() if not tag.startswith(("manylinux", "musllinux")))


if __name__ == "__main__":
    generate()
    copy_chart()
    compile_kernel()
