import re
from pathlib import Path

from webui_svc.app import STATIC

GLOSSARY = Path(__file__).parents[3] / "docs" / "glossary.md"


def test_each_kind_of_change_has_a_mark_of_its_own_and_shares_only_that_of_the_same_state() -> None:
    marks = re.findall(r'^  (\w+): \{ glyph: "(.)"', (STATIC / "modules" / "annotations.js").read_text(), re.MULTILINE)
    css = (STATIC / "styles" / "topology.css").read_text()
    states = re.findall(r'^\.key \[data-state="(\w+)"\].* content: "(.)"', css, re.MULTILINE)
    assert len(marks) > 8
    assert len(states) > 6
    words: dict[str, set[str]] = {}
    for word, mark in marks + states:
        words.setdefault(mark, set()).add(word)
    assert [found for found in words.values() if len(found) > 1 and found != {"lost", "gone"}] == []


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
