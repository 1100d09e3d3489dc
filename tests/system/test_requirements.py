import json
import re
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from support.programs import run

ROOT = Path(__file__).parents[2]
# What images install: those of rng and hasher the first.
IMAGES = ("grpc-server", "worker", "load-test", "webui")

PLATFORMS = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "x86_64-apple-darwin", "aarch64-apple-darwin")
PERMISSIVE = ("apache", "mit", "bsd", "psf", "python software foundation", "isc", "0bsd")
# A list of authorities under MPL-2.0, which requires of those who distribute it unchanged no more than the others do.
EXCEPTIONS = {"certifi"}


def pinned(file: str) -> list[Requirement]:
    lines = (ROOT / "requirements" / f"{file}.txt").read_text().splitlines()
    return [Requirement(line.removesuffix(" \\")) for line in lines if "==" in line]


def versions(file: str) -> dict[str, str]:
    return {each.name: str(each.specifier).removeprefix("==") for each in pinned(file)}


@pytest.mark.parametrize("path", list((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.stem)
def test_every_requirement_is_pinned_by_hash_and_no_registry_is_named(path: Path) -> None:
    pin = r"[a-z0-9][a-z0-9._-]*==\S+( ; .+)?( \\\n    --hash=sha256:[0-9a-f]{64})+\n"
    assert re.sub(pin, "", path.read_text()) == ""
    assert pinned(path.stem)


@pytest.mark.parametrize("python", ["3.11", "3.13"])
@pytest.mark.parametrize("platform", PLATFORMS)
def test_what_runs_is_to_be_had_without_a_compiler(platform: str, python: str, tmp_path: Path) -> None:
    """Of `make run`, which is all that the images have, too."""
    wanted = ("--python-platform", platform, "--python-version", python, "--target", tmp_path)
    how = ("--quiet", "--dry-run", "--only-binary", ":all:", "--require-hashes", "--no-deps")
    uv = Path(sys.executable).with_name("uv")
    done = run(uv, "pip", "install", *how, *wanted, "-r", ROOT / "requirements" / "run.txt")
    assert done.returncode == 0, done.stderr


def test_images_install_nothing_without_a_hash_or_from_source() -> None:
    for dockerfile in (*ROOT.glob("*/Dockerfile"), ROOT / "deploy" / "certs" / "Dockerfile"):
        installs = re.findall(r"\bpip (?:--python /app )?install (.*)", dockerfile.read_text())
        assert installs
        for options in installs:
            assert re.search(
                r"--require-hashes --no-deps --only-binary :all: |--no-cache-dir --no-index --no-deps ", options
            ), dockerfile


def licence(distribution: metadata.Distribution) -> str:
    about = distribution.metadata
    of_classifiers = [each for each in about.get_all("Classifier", []) if each.startswith("License ::")]
    return " ".join(about.get_all("License-Expression", []) or of_classifiers or about.get_all("License", []))


@pytest.mark.parametrize("group", IMAGES)
def test_an_image_has_what_make_run_has_all_of_it_under_permissive_licences(group: str) -> None:
    assert versions(group).items() <= versions("run").items()
    installed = [each.name for each in pinned(group) if each.marker is None or each.marker.evaluate()]
    terms = {name: licence(metadata.distribution(name)) for name in installed if name not in EXCEPTIONS}
    assert not {name: said for name, said in terms.items() if not any(each in said.lower() for each in PERMISSIVE)}


def test_the_bill_of_materials_has_all_that_is_pinned(tmp_path: Path) -> None:
    done = run("make", "-C", ROOT, "sbom", f"SBOM={tmp_path}")
    assert done.returncode == 0, done.stderr
    for group in IMAGES:
        bill = json.loads((tmp_path / f"{group}.cdx.json").read_text())
        assert bill["bomFormat"] == "CycloneDX"
        listed = {part["name"]: part for part in bill["components"]}
        assert {name: part["version"] for name, part in listed.items()} == versions(group)
        for part in listed.values():
            assert part["purl"].startswith("pkg:pypi/")
            assert part["externalReferences"][0]["hashes"]
    (chart,) = json.loads((tmp_path / "page.cdx.json").read_text())["components"]
    assert chart["name"] == "uplot"
    assert chart["hashes"]
