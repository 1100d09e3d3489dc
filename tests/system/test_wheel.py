import json
import shutil
import signal
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from support.admin_endpoint import http_get
from support.free_port import free_ports
from support.programs import environment, find_program, run
from support.waiting import wait_until

ROOT = Path(__file__).parents[2]
COMMON = ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "chassis")
PACKAGES = ("chassis", "hasher_svc", "load_test", "local_run", "rng_svc", "webui_svc", "worker_svc")
LIBRARY = "hasher_svc/libkernel.so"


def build(folder: Path, *paths: str, compiler: str) -> tuple[Path, set[str], str]:
    """The wheel, its files, and what the build said of the kernel."""
    for path in (*COMMON, *paths):
        if (ROOT / path).is_dir():
            shutil.copytree(ROOT / path, folder / path, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(ROOT / path, folder / path)
    words = ("-m", "hatchling", "build", "--target", "wheel", "--directory", "wheel")
    done = run(sys.executable, *words, cwd=folder, env=environment(CC=compiler))
    assert done.returncode == 0, done.stderr
    (wheel,) = (folder / "wheel").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        files = set(archive.namelist())
    return wheel, files, "\n".join(line for line in done.stderr.splitlines() if "kernel" in line)


def test_with_a_compiler_the_wheel_of_hasher_has_the_kernel_and_is_for_this_platform(tmp_path: Path) -> None:
    wheel, files, said = build(tmp_path, "hasher_svc", compiler=find_program("cc", "gcc and libc6-dev"))
    assert LIBRARY in files
    assert "hasher_svc/kernel.c" not in files
    assert "-py3-none-" in wheel.name
    assert "any" not in wheel.name
    assert not said


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false"])
def test_without_a_compiler_the_package_is_built_and_one_line_reports_it(tmp_path: Path, compiler: str) -> None:
    wheel, files, said = build(tmp_path, "hasher_svc", compiler=compiler)
    assert LIBRARY not in files
    assert "hasher_svc/service.py" in files
    assert wheel.name.endswith("-py3-none-any.whl")
    assert said.startswith(f"hasher will hash with hashlib, since {compiler} made no kernel: ")
    assert "\n" not in said


def test_the_wheel_of_another_service_needs_no_compiler_and_is_for_any_platform(tmp_path: Path) -> None:
    wheel, files, said = build(tmp_path, "rng_svc", "protos", compiler="no-such-compiler")
    assert "rng_svc/service.py" in files
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not said


def test_the_whole_wheel_runs_without_make_npm_or_a_compiler(tmp_path: Path) -> None:
    """On a machine that has only Python, with the newest dependencies instead of the pinned ones."""
    wheel, files, _ = build(tmp_path, *PACKAGES[1:], "protos", compiler="no-such-compiler")
    assert {f"{package}/py.typed" for package in (*PACKAGES, "dockercoins")} <= files
    for service in ("rng", "hasher"):
        api = f"dockercoins/{service}/v1/{service}_service"
        assert {f"{api}.proto", f"{api}_pb2.py", f"{api}_pb2.pyi", f"{api}_pb2_grpc.py", f"{api}_pb2_grpc.pyi"} <= files
    assert {f"webui_svc/static/{name}" for name in ("index.html", "vendor/uplot/uPlot.esm.js")} <= files
    assert sum(name.endswith("sboms/uplot.cdx.json") for name in files) == 1
    assert not [name for name in files if name.endswith(("Dockerfile", ".c", ".so"))]

    uv = Path(sys.executable).with_name("uv")
    venv = tmp_path / "venv"
    made = run(uv, "venv", "--python", sys.executable, venv)
    assert made.returncode == 0, made.stderr
    done = run(uv, "pip", "install", "--python", venv, "--only-binary", ":all:", f"{wheel}[all]")
    assert done.returncode == 0, done.stderr
    ports = free_ports(10)
    names = ("RNG_PORT", "HASHER_PORT", "WEBUI_PORT", "REDIS_PORT")
    metrics = [f"{service}_METRICS_PORT" for service in ("RNG", "HASHER", "WORKER", "WEBUI")]
    variables = {name: ports + index for index, name in enumerate((*names, *metrics))}
    output = tmp_path / "output"
    with output.open("wb") as file:
        started = subprocess.Popen(
            [venv / "bin" / "dockercoins", "run"],
            cwd=tmp_path / "wheel",
            env=environment(PATH=venv / "bin", DATA_DIR=tmp_path / "data", **variables),
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    page = variables["WEBUI_PORT"]

    def mines() -> bool:
        with suppress(OSError, ValueError):
            return bool(json.loads(http_get(page, "/json")[1])["hashes"])
        return False

    try:
        wait_until(mines, 60, output.read_text)
        assert http_get(page, "/static/vendor/uplot/uPlot.esm.js")[0] == 200
        assert "no kernel: it was not built" in output.read_text()
    finally:
        started.send_signal(signal.SIGTERM)
        started.wait(30)
