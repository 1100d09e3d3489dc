"""Has the kernel of a library hash every file of a folder, as a process that ends where memory is misused.

python -m integration.abuse.sanitized LIBRARY FOLDER
"""

import sys
from hashlib import sha256
from pathlib import Path

from hasher_svc import kernel


def main(library: Path, folder: Path) -> None:
    kernel.LIBRARY = library
    digests = kernel.load()
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        for size in {1, 55, 56, 63, 64, 65, len(data) or 1}:
            for start in range(min(3, len(data))):
                count = (len(data) - start) // size
                messages = (data[start + number * size :][:size] for number in range(count))
                assert digests(data, size, start) == b"".join(sha256(message).digest() for message in messages)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
