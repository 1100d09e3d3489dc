"""The kernel under AddressSanitizer, with all of Python's memory from malloc() so that each buffer has guarded ends."""

import os
import subprocess
import sys
from pathlib import Path

from support.programs import environment, find_program, run

ROOT = Path(__file__).parents[2]

SANITIZED = """
import hashlib, random, sys
from hasher_svc import hashing
from pathlib import Path
hashing.KERNEL_LIBRARY = Path(sys.argv[1])
digests = hashing.load_kernel()
chance = random.Random(int(sys.argv[2]))
for _ in range(2_000):
    size = chance.randint(1, 300)
    data = chance.randbytes(size * chance.randint(0, 40) + chance.randint(0, size - 1))
    count = len(data) // size
    pieces = [data[size * each :][:size] for each in range(count)]
    assert digests(data, size) == b"".join(hashlib.sha256(piece).digest() for piece in pieces)
print("done")
"""


def test_the_kernel_stays_within_its_memory(tmp_path: Path) -> None:
    compiler = find_program("gcc", "gcc")
    library = tmp_path / "libkernel.so"
    flags = ["-O1", "-g", "-fPIC", "-shared", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    subprocess.run([compiler, *flags, "-o", library, ROOT / "hasher_svc" / "kernel.c"], check=True)
    variables = environment(
        PYTHONPATH=f"{ROOT}:{ROOT / 'generated'}",
        LD_PRELOAD=run(compiler, "-print-file-name=libasan.so").stdout.strip(),
        PYTHONMALLOC="malloc",
        ASAN_OPTIONS="detect_leaks=0:verify_asan_link_order=0",
    )
    seed = int.from_bytes(os.urandom(4))
    done = run(sys.executable, "-c", SANITIZED, library, seed, env=variables)
    assert (done.returncode, done.stdout) == (0, "done\n"), f"seed {seed}: {done.stderr[-4_000:]}"
