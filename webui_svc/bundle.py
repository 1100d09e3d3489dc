"""Joins the page's ES modules into one script, when it is served.

One script loads where networks are rough: a browser gives up a module that failed, and with it the page, while a script
element can be tried again (boot.js). The known bundlers come from npm, which `make run` must not need. Little is needed
of a bundler, because the modules are our own: this one knows only the forms of import and export that they use, and
refuses all others.
"""

import re
from pathlib import Path

_IMPORT = re.compile(
    r"^import (?:\{ (?P<names>\w+(?:, \w+)*) \}|\* as (?P<all>\w+)|(?P<default>\w+))"
    r' from "(?P<path>[\w./-]+)";$',
    re.MULTILINE,
)
_DECLARED = re.compile(r"^export (?=(?:async )?(?:function|class|const) (\w+))", re.MULTILINE)
_DEFAULT = re.compile(r"^export \{ (\w+) as default \};$", re.MULTILINE)
_LEFT = re.compile(r"^(?:import|export)\b.*|\bimport\(", re.MULTILINE)


class BundleError(Exception):
    """A module has a form of import or export that bundles don't support, or imports itself. The message names it."""


def bundle(entry: Path) -> str:
    """Return a script that does what the module does, with all that it imports.

    Each module is a function, called once, in the order of the imports. A file below a folder `vendor` that is missing
    exports nothing, since it is not in the repository. Raises BundleError and FileNotFoundError.
    """
    names: dict[Path, str] = {}
    parts: list[str] = []
    _add(entry, names, parts, ())
    return '(() => {\n"use strict";\n' + "\n".join(parts) + "\n})();\n"


def _add(module: Path, names: dict[Path, str], parts: list[str], importing: tuple[Path, ...]) -> None:
    if module in importing:
        raise BundleError(f"{module.name} imports itself, by way of {importing[-1].name}")
    missing = "vendor" in module.parts and not module.is_file()
    source = "" if missing else module.read_text()
    for found in _IMPORT.finditer(source):
        imported = (module.parent / found["path"]).resolve()
        if imported not in names:
            _add(imported, names, parts, (*importing, module))

    def declare(found: re.Match[str]) -> str:
        target = found["all"] or (f"{{ {found['names']} }}" if found["names"] else f"{{ default: {found['default']} }}")
        return f"const {target} = {names[(module.parent / found['path']).resolve()]};"

    body = _IMPORT.sub(declare, source)
    # A module with a default export has no other; uPlot's has one more in a comment.
    exported = [f"default: {name}" for name in _DEFAULT.findall(body)] or _DECLARED.findall(body)
    body = _DEFAULT.sub("", _DECLARED.sub("", body))
    if left := _LEFT.search(body):
        raise BundleError(f"{module.name}: {left[0]!r} is not a form that bundles support")
    names[module] = f"module_{len(names)}"
    parts.append(
        f"const {names[module]} = (() => {{ // {module.name}\n{body}\nreturn {{ {', '.join(exported)} }};\n}})();"
    )
