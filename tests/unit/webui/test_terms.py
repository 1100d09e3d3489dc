import re
from pathlib import Path

from webui_svc.app import STATIC

GLOSSARY = Path(__file__).parents[3] / "docs" / "glossary.md"


def test_the_glossary_has_the_words_of_the_page_and_the_same_sentences() -> None:
    source = (STATIC / "modules" / "terms.js").read_text()
    terms = {
        quoted or plain: text
        for quoted, plain, text in re.findall(r'^  (?:"([^"]+)"|(\w+)): "(.*)",$', source, re.MULTILINE)
    }
    assert len(terms) == source.count('",\n') > 30
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", GLOSSARY.read_text(), re.MULTILINE)
    assert dict(rows[1:]) == terms
    html = (STATIC / "index.html").read_text()
    assert set(re.findall(r'data-term="([^"]+)"', html)) <= terms.keys()
