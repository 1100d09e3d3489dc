"""Does the labs that have a picture, and takes their pictures, light and dark: `make screenshot`."""

import sys
from pathlib import Path

from support.lab_machine import MACHINES
from support.lab_script import Picture, steps
from support.lab_terminal import Student

LABS = Path(__file__).parent
PICTURES = LABS / "images"


def take(lab: Path) -> None:
    """Do a lab on each machine for which it has a picture, up to the last one."""
    text = lab.read_text()
    for kind, machine in MACHINES.items():
        todo = list(steps(text, kind))
        while todo and not isinstance(todo[-1], Picture):
            todo.pop()
        if not todo:
            continue
        print(f"{lab.stem} on {kind}", flush=True)
        with machine(text) as open_terminal:
            student = Student(open_terminal, PICTURES)
            try:
                for step in todo:
                    student.do(step)
            finally:
                student.close()


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    chosen = sys.argv[1:] or [""]
    for each in sorted(LABS.glob("[0-9]*.md")):
        if each.name.startswith(tuple(chosen)):
            take(each)
