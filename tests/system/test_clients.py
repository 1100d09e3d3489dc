"""Clients in other languages, generated as buf.gen.yaml says, and compiled."""

import json
import os
import shutil
import sys
from pathlib import Path

import yaml
from support.programs import environment, find_program, run, skip_or_fail

ROOT = Path(__file__).parents[2]
DEBIAN_GO = Path("/usr/share/gocode")


def generate(folder: Path, language: str) -> Path:
    """Run the plugins of one language."""
    template = yaml.safe_load((ROOT / "buf.gen.yaml").read_text())
    template["plugins"] = [each for each in template["plugins"] if each["out"].endswith(language)]
    assert template["plugins"]
    buf = Path(sys.executable).with_name("buf")
    path = f"{folder / 'node_modules' / '.bin'}:{os.environ['PATH']}"
    done = run(buf, "generate", "--template", json.dumps(template), "-o", folder, cwd=ROOT, env=environment(PATH=path))
    assert done.returncode == 0, done.stderr
    return folder / "build" / "clients" / language


def test_a_client_in_go_is_generated_and_compiles(tmp_path: Path) -> None:
    """Against Debian's packages of Go, so that no registry of Go modules is needed."""
    go = find_program("go", "golang-go")
    for plugin in ("protoc-gen-go", "protoc-gen-go-grpc"):
        find_program(plugin, plugin)
    if not (DEBIAN_GO / "src/google.golang.org/grpc").is_dir():
        skip_or_fail("gRPC for Go is not there; on Debian and Ubuntu, install golang-google-grpc-dev")
    made = generate(tmp_path, "go")
    assert len(list(made.rglob("*.go"))) == 4
    package = tmp_path / "gopath" / "src" / "dockercoins-clients"
    shutil.copytree(made, package)
    variables = {"GO111MODULE": "off", "GOPATH": f"{tmp_path / 'gopath'}:{DEBIAN_GO}", "GOCACHE": tmp_path / "cache"}
    done = run(go, "build", "./...", cwd=package, env=environment(**variables))
    assert done.returncode == 0, done.stderr


def test_a_client_in_javascript_is_generated_and_its_types_are_right(tmp_path: Path) -> None:
    npm, node = find_program("npm", "npm"), find_program("node", "nodejs")
    (tmp_path / "package.json").write_text('{"private": true, "type": "module"}')
    tools = ("@bufbuild/protoc-gen-es@2.17.0", "@bufbuild/protobuf@2.17.0")
    done = run(npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", tmp_path, *tools)
    assert done.returncode == 0, done.stderr
    made = generate(tmp_path, "js")
    script = tmp_path / "client.js"
    script.write_text(
        'import { create, toBinary } from "@bufbuild/protobuf";\n'
        f'import * as rng from "{made}/dockercoins/rng/v1/rng_service_pb.js";\n'
        f'import * as hasher from "{made}/dockercoins/hasher/v1/hasher_service_pb.js";\n'
        "const request = create(rng.GetRandomBytesRequestSchema, { size: 16 });\n"
        "console.log(Buffer.from(toBinary(rng.GetRandomBytesRequestSchema, request)).toString('hex'));\n"
        "console.log(hasher.HasherService.method.streamHashes.methodKind);\n"
    )
    done = run(node, script, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("0810\nbidi_streaming\n", "")
