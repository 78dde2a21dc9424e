import pytest

from boxtune.data.findings import SkipError
from boxtune.data.formats.xml_tree import read_xml, root_tag

LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))


def file(folder, text, encoding="utf-8"):
    path = folder / "a.xml"
    path.write_bytes(text.encode(encoding))
    return path


def test_elements_know_their_lines_and_are_found_by_path(tmp_path):
    root = read_xml(file(tmp_path, "\n\n<a>\n <b x='1'> one <c>two</c></b>\n <b/>\n</a>"))
    assert (root.tag, root.line) == ("a", 3)
    assert [(b.line, b.attributes) for b in root.all("b")] == [(4, {"x": "1"}), (5, {})]
    assert root.text_at("b") == "one"
    assert root.text_at("b/c") == "two"
    assert root.text_at("b/none") == ""
    assert root.first("none/c") is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(tmp_path, encoding):
    assert read_xml(file(tmp_path, "<a>ü</a>", encoding)).text == "ü"
    assert root_tag(tmp_path / "a.xml") == "a"


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("<a>\n<b>\n</a>", "line 3"),
        ("\n<a>\n<b>\n</a>", "line 4"),
        ("", "line 1"),
        (f'<!DOCTYPE a [<!ENTITY l0 "lol">{LAUGHS}]><a>&l9;</a>', ""),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>', ""),
        ('<?xml version="1.0" encoding="klingon"?><a/>', ""),
        ("<a>" + " " * 16 * 2**20 + "</a>", ""),
    ],
    ids=["unclosed", "unclosed later", "empty", "billion laughs", "external entity", "encoding", "17 MiB"],
)
def test_what_cannot_be_read_is_skipped_with_its_line(tmp_path, text, location):
    with pytest.raises(SkipError) as error:
        read_xml(file(tmp_path, text))
    assert error.value.kind.name == "unreadable annotation"
    assert error.value.location == location


def test_depth_does_not_exhaust_the_stack(tmp_path):
    deep = 100_000
    root = read_xml(file(tmp_path, "<a>" * deep + "</a>" * deep))
    assert root.tag == "a"
    root.children.clear()


def test_an_absent_file_is_skipped(tmp_path):
    with pytest.raises(SkipError, match="FileNotFoundError"):
        read_xml(tmp_path / "absent.xml")
