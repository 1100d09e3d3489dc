"""When the kernel is not used."""

import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest

from hasher_svc import kernel
from hasher_svc.hashing import Hashing
from hasher_svc.kernel import KernelError
from hatch_build import KERNEL, compile_kernel


def refusal() -> str:
    with pytest.raises(KernelError) as error:
        kernel.load()
    return str(error.value)


def test_a_file_that_is_no_library_is_no_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    library = tmp_path / "libkernel.so"
    library.write_text("no library")
    monkeypatch.setattr(kernel, "LIBRARY", library)
    assert str(library) in refusal()


@pytest.mark.usefixtures("by_kernel")
def test_there_is_no_kernel_where_the_interpreter_has_its_openssl_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_hashlib", ModuleType("_hashlib"))
    assert refusal() == "module '_hashlib' has no attribute '__file__'"


@pytest.mark.usefixtures("by_kernel")
def test_there_is_no_kernel_where_the_interpreter_has_no_openssl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_hashlib", None)
    assert "_hashlib" in refusal()


@pytest.mark.usefixtures("by_kernel")
def test_there_is_no_kernel_where_the_openssl_shows_no_such_function(monkeypatch: pytest.MonkeyPatch) -> None:
    without = ModuleType("_hashlib")
    without.__file__ = str(kernel.LIBRARY)
    monkeypatch.setitem(sys.modules, "_hashlib", without)
    assert "SHA256_Update" in refusal()


@pytest.mark.usefixtures("by_kernel")
@pytest.mark.parametrize(
    ("right", "wrong", "size"),
    [
        ("0x80", "0x81", 1),
        ("end + 1 + LENGTH <= BLOCK", "end + LENGTH <= BLOCK", 56),
        ("(uint64_t)size * 8", "(uint8_t)(size * 8)", 32),
        ("if (whole)", "if (0)", 64),
    ],
)
def test_a_kernel_that_hashes_wrongly_is_found_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, right: str, wrong: str, size: int
) -> None:
    source, library = tmp_path / "kernel.c", tmp_path / "libkernel.so"
    text = KERNEL.read_text()
    assert right in text
    source.write_text(text.replace(right, wrong))
    assert compile_kernel(source, library)
    monkeypatch.setattr(kernel, "LIBRARY", library)
    assert refusal() == f"it hashes messages of {size} bytes wrongly"


def test_other_threads_run_while_the_kernel_does(by_kernel: Hashing) -> None:
    """It takes long enough for a thread that wants the interpreter only for a moment to get it many times."""
    data = bytes(64 * 1024 * 1024)
    running = threading.Thread(target=by_kernel.digests, args=(data, 32))
    turns = 0
    running.start()
    while running.is_alive():
        running.join(0.001)
        turns += 1
    assert turns > 5
