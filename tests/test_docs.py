"""What the documentation links to is there: files, and headings by the anchors that forges give them."""

import re
from pathlib import Path

import pytest

import boxtune

REPOSITORY = Path(__file__).parent.parent
PAGES = [*sorted((REPOSITORY / "docs").glob("*.md")), *sorted(REPOSITORY.glob("*.md"))]
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")


def prose(page: Path) -> str:
    """Return a page without its code, in which brackets are no links and number signs no headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"^ {4}.*$|`[^`\n]*`", "", text, flags=re.MULTILINE)


def anchors(page: Path) -> list[str]:
    """Return the anchors of the headings of a page: lower case, no punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def broken_links(page: Path) -> list[str]:
    """Return the targets of the links to files and headings that are not there."""
    broken = []
    for target in LINK.findall(prose(page)):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    assert broken_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_two_headings_of_a_page_have_one_anchor(page):
    found = anchors(page)
    assert sorted(found) == sorted(set(found))


def test_a_broken_link_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One, two: `three`\n[a](#one-two-three) [b](page.md#four) [c](absent.md) [`d`](#five) `[e](#six)`\n"
        "    [f](#seven)\n```\n[g](#eight)\n```\n[h](https://example.com/#nine)\n",
        encoding="utf-8",
    )
    assert broken_links(page) == ["page.md#four", "absent.md", "#five"]


def test_every_page_is_named_in_the_readme():
    linked = LINK.findall(prose(REPOSITORY / "README.md"))
    named = {target.partition("#")[0] for target in linked}
    own = {"docs/index.md", "docs/changelog.md"}  # of the site: they include pages of the folder above
    assert {f"docs/{page.name}" for page in PAGES if page.parent.name == "docs"} - named == own


def test_every_page_has_its_place_in_the_navigation():
    index = (REPOSITORY / "docs" / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\w+$", index, re.MULTILINE)
    pages = [path.stem for path in (REPOSITORY / "docs").iterdir() if path.suffix in (".md", ".rst")]
    assert sorted(listed) == sorted({*pages} - {"index"})


def test_the_reference_has_every_verb():
    reference = (REPOSITORY / "docs" / "reference.rst").read_text(encoding="utf-8")
    assert sorted(re.findall(r"autofunction:: boxtune\.(\w+)$", reference, re.MULTILINE)) == sorted(
        boxtune.VERBS
    )
