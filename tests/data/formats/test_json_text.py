import json

import pytest

from boxtune.data import findings as kinds
from boxtune.data.findings import SkipError
from boxtune.data.formats import json_text
from boxtune.data.formats.json_text import as_dict, as_list, as_text, load_format, load_json, recognises


@pytest.fixture
def file(tmp_path):
    """Write bytes to a file; return its path."""

    def write(data):
        (tmp_path / "a.json").write_bytes(data)
        return tmp_path / "a.json"

    return write


def refusal(path):
    with pytest.raises(SkipError) as caught:
        load_json(path)
    assert caught.value.kind is kinds.ANNOTATION_UNREADABLE
    return str(caught.value), caught.value.location


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_of_windows_programs_are_read(file, encoding):
    assert load_json(file('{"name": "größe"}'.encode(encoding))) == {"name": "größe"}


def test_what_is_no_json_is_reported_with_line_and_column(file):
    assert refusal(file(b"[1\n 2]")) == ("it is not JSON: Expecting ',' delimiter.", "line 2, column 2")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not JSON"),
        (b"\xff\xd8\xff\xe0 a JPEG", "not text in UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"9" * 5000, "digits"),
    ],
)
def test_hostile_files_are_refused(file, data, reason):
    assert reason in refusal(file(data))[0]


def test_files_that_are_too_large_or_absent_are_refused(file, tmp_path, monkeypatch):
    monkeypatch.setattr(json_text, "MAX_BYTES", 2**20)
    path = file(b'"' + b"a" * 2**20 + b'"')
    assert "more than 1 MiB" in refusal(path)[0]
    assert "cannot be read" in refusal(tmp_path / "absent.json")[0]


def test_a_file_that_has_changed_is_read_again(file):
    assert recognises(file(b"[1]"), lambda value: value == [1])
    assert recognises(file(b"[1, 2]"), lambda value: value == [1, 2])
    assert load_json(file(b"[]")) == []


def test_a_file_is_read_once_by_all_that_recognise_and_the_one_that_loads_it(file, monkeypatch):
    calls = []
    monkeypatch.setattr(json_text.json, "loads", lambda text: calls.append(text) or [])
    path = file(b"[]")
    assert not recognises(path, bool)
    assert recognises(path, lambda value: value == [])
    load_json(path)
    assert calls == ["[]"]
    load_json(path)  # and nothing is kept behind
    assert len(calls) == 2


def test_what_cannot_be_read_is_not_recognised(file, tmp_path):
    assert not recognises(file(b"{"), lambda value: True)
    assert not recognises(tmp_path / "absent.json", lambda value: True)


def test_another_format_is_foreign(file):
    path = file(b"[]")
    assert load_format(path, lambda value: value == [], "lists") == []
    with pytest.raises(SkipError, match="not that of objects") as caught:
        load_format(path, bool, "objects")
    assert caught.value.kind is kinds.FOREIGN


@pytest.mark.parametrize(
    ("value", "name"), [(None, "nothing"), (True, "true or false"), (1.5, "a number"), ("a", "a string")]
)
def test_wrong_types_are_reported_with_their_place(value, name):
    with pytest.raises(SkipError, match=rf"a\[1\] is {name}, not a list") as caught:
        as_list(value, "a[1]")
    assert (caught.value.kind, caught.value.location) == (kinds.ANNOTATION_UNREADABLE, "a[1]")
    with pytest.raises(SkipError, match=f"a is {name}, not an object") as caught:
        as_dict(value, "a", kinds.OBJECT_WITHOUT_BOX)
    assert caught.value.kind is kinds.OBJECT_WITHOUT_BOX


def test_lists_and_objects_pass():
    assert as_list([1], "a") == [1]
    assert as_dict({"b": 1}, "a") == {"b": 1}


@pytest.mark.parametrize(
    ("value", "text"),
    [(" cat ", "cat"), (7, "7"), (True, ""), (None, ""), (1.5, ""), ([], ""), (10**400, ""), ({"a": 1}, "")],
)
def test_only_strings_and_whole_numbers_are_text(value, text):
    assert as_text(value) == text


def test_halves_of_surrogate_pairs_do_not_get_into_names():
    assert as_text(json.loads('"a\\ud800b"')).encode("utf-8") == "a\N{REPLACEMENT CHARACTER}b".encode()
    assert as_text(json.loads('"\\ud83d\\ude00"')) == "\N{GRINNING FACE}"
