from pathlib import Path

import pytest

from webui_svc.app import STATIC
from webui_svc.bundle import BundleError, bundle


def test_modules_are_joined_in_the_order_of_their_imports_each_once(tmp_path: Path) -> None:
    modules = {
        "page.js": 'import Chart from "./vendor/chart.js";\nimport { one, two } from "./one.js";\n'
        'import * as all from "./two.js";\none();\n',
        "one.js": 'import { two } from "./two.js";\nexport function one() {}\nexport const two = 2;\n',
        "two.js": "const hidden = 1;\nexport class Two {}\nexport async function two() {}\n",
    }
    for name, source in modules.items():
        (tmp_path / name).write_text(source)
    script = bundle(tmp_path / "page.js")
    assert [line.partition("// ")[2] for line in script.splitlines() if "// " in line] == [
        "chart.js",
        "two.js",
        "one.js",
        "page.js",
    ]
    for text in (
        "const { default: Chart } = module_0;",
        "const { one, two } = module_2;",
        "const all = module_1;",
        "return { Two, two };",
        "return { one, two };",
    ):
        assert text in script
    assert "import" not in script
    assert "export" not in script


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ('import { page } from "./page.js";\n', "page.js imports itself"),
        ("export default 3;\n", "'export default 3;'"),
        ('import { a as b } from "./b.js";\n', "import { a as b }"),
        ('const late = import("./late.js");\n', "import("),
    ],
)
def test_other_forms_of_import_and_export_are_refused(tmp_path: Path, source: str, named: str) -> None:
    (tmp_path / "page.js").write_text(source)
    with pytest.raises(BundleError) as refused:
        bundle(tmp_path / "page.js")
    assert named in str(refused.value)


@pytest.mark.parametrize("entry", ["page.js", "shared-worker.js"])
def test_the_page_s_own_modules_can_be_joined(entry: str) -> None:
    assert bundle(STATIC / "modules" / entry)
