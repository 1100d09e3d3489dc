#!/usr/bin/env bash
# Serializing 2 MiB of bytes is ten times slower in protobuf's C code than in pure Python, mostly due to page faults.
#
# Versions: protobuf 7.36.2 (upb), CPython 3.11, glibc 2.36; seen 2026-11-30. Linux with glibc, otherwise this exits
# with 2.
#
# upb builds a message in an arena: it copies the bytes into it, then into the serialized form, whose buffer it doubles as
# it grows, and then into a Python object. Each of these blocks is so large that glibc maps it anew and gives it back
# afterwards, and the kernel fills every page with zeros: 1,500 page faults a message. Pure Python copies once. Messages of
# many small fields are the other way round by far. So programs that send messages of a megabyte pay for memory, not for
# protobuf, and two variables of glibc, or mallopt() at start, take four fifths of it away: MALLOC_MMAP_THRESHOLD_ and
# MALLOC_TRIM_THRESHOLD_, above the largest message. The process then keeps what it had at its peak.
#
# Prints the microseconds of CPU for serializing one field of 2 MiB, and for parsing 1,000 messages within one, by
# implementation and settings of malloc, and the page faults of the former.
#
# Seen:
#     us for 2 MiB: C 2318, C with malloc's thresholds raised 484, Python 202
#     page faults for 2 MiB: C 1505, C with malloc's thresholds raised 0, Python 24
#     us for 1,000 messages: C 137, C with malloc's thresholds raised 145, Python 3634
set -euo pipefail

python3 -c 'import platform, sys; sys.exit(platform.libc_ver()[0] != "glibc")' || { echo "needs glibc" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" --disable-pip-version-check -qq install "protobuf==${PROTOBUF:-7.36.2}" || exit 2
"$folder/bin/pip" --disable-pip-version-check list --format=freeze 2>/dev/null | grep -E "^(protobuf)=="

cat >"$folder/measure.py" <<'PYTHON'
import json
import os
import resource
import time
from collections.abc import Callable
from statistics import median

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.internal import api_implementation

assert api_implementation.Type() == os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"]
file = descriptor_pb2.FileDescriptorProto(name="test.proto", package="test", syntax="proto3")
field = descriptor_pb2.FieldDescriptorProto
file.message_type.add(name="Item").field.add(name="data", number=1, type=field.TYPE_BYTES, label=field.LABEL_OPTIONAL)
file.message_type.add(name="Items").field.add(
    name="items", number=1, type=field.TYPE_MESSAGE, type_name=".test.Item", label=field.LABEL_REPEATED
)
pool = descriptor_pool.DescriptorPool()
pool.AddSerializedFile(file.SerializeToString())
Item, Items = (message_factory.GetMessageClass(pool.FindMessageTypeByName(f"test.{name}")) for name in ("Item", "Items"))

large = os.urandom(2 << 20)
many = Items(items=[Item(data=bytes(20)) for _ in range(1_000)]).SerializeToString()


def microseconds(do: Callable[[], object], times: int) -> float:
    rounds = []
    for _ in range(9):
        began = time.process_time()
        for _ in range(times):
            do()
        rounds.append(1e6 * (time.process_time() - began) / times)
    return median(rounds)


def serialize() -> bytes:
    return Item(data=large).SerializeToString()


us = microseconds(serialize, 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    serialize()
faults = (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20
print(json.dumps([us, faults, microseconds(lambda: [item.data for item in Items.FromString(many).items], 5)]))
PYTHON

"$folder/bin/python" -s - "$folder" <<'PYTHON'
import json
import os
import subprocess
import sys

folder = sys.argv[1]
RAISED = {"MALLOC_MMAP_THRESHOLD_": str(64 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}
WAYS = {"C": ("upb", {}), "C with malloc's thresholds raised": ("upb", RAISED), "Python": ("python", {})}


def expect(what: str, seen: object, holds: object) -> None:
    """Print what was seen; exit with 1 if the finding does not hold any more."""
    print(f"{what}: {seen}", flush=True)
    if not holds:
        raise SystemExit("this is not the behaviour that the finding describes")


def measure(implementation: str, malloc: dict[str, str]) -> list[float]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    variables |= {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": implementation, **malloc}
    program = [f"{folder}/bin/python", "-s", f"{folder}/measure.py"]
    return json.loads(subprocess.run(program, env=variables, stdout=subprocess.PIPE, check=True).stdout)


figures = {name: measure(*way) for name, way in WAYS.items()}


def column(number: int) -> tuple[str, list[float]]:
    values = [each[number] for each in figures.values()]
    return ", ".join(f"{name} {value:.0f}" for name, value in zip(figures, values, strict=True)), values


seen, (c, raised, python) = column(0)
expect("us for 2 MiB", seen, c > 3 * python and c > 2 * raised)
seen, (c, raised, python) = column(1)
expect("page faults for 2 MiB", seen, c > 500 and raised < 50)
seen, (c, raised, python) = column(2)
expect("us for 1,000 messages", seen, python > 5 * c)
PYTHON
