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


STATIC = ModuleType("_hashlib")
OTHER_OPENSSL = ModuleType("_hashlib")
OTHER_OPENSSL.__file__ = str(kernel.LIBRARY)


@pytest.mark.usefixtures("by_kernel")
@pytest.mark.parametrize(
    ("module", "reason"), [(None, "_hashlib"), (STATIC, "__file__"), (OTHER_OPENSSL, "SHA256_Update")]
)
def test_there_is_no_kernel_without_an_openssl_that_it_can_use(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType | None, reason: str
) -> None:
    monkeypatch.setitem(sys.modules, "_hashlib", module)
    assert reason in refusal()


@pytest.mark.usefixtures("by_kernel")
@pytest.mark.parametrize(
    ("right", "wrong", "size"),
    [
        ("0x80", "0x81", 1),
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
