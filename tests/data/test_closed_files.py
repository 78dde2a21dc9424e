"""Files among annotations that cannot be opened: named for what they are, with the way out."""

import gzip
import tarfile
import zipfile

import pytest

from boxtune.data.closed_files import why_closed
from boxtune.data.preparation import Options, prepare
from boxtune.errors import DataError
from voc_folder import annotated, image_file

TABLE = "filename,class,xmin,ymin,xmax,ymax\na.jpg,café,1,1,9,9\n"


def zipped(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.xml", "<annotation/>")
    return path


def tarred(path):
    with tarfile.open(path, "w:gz"):
        return path


def written(path, data):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("t.xlsx", zipped, "it is a spreadsheet or an archive, not text. Export the table as CSV."),
        ("t.csv", zipped, "it is a spreadsheet or an archive, not text. Export the table as CSV."),
        (
            "a.zip",
            zipped,
            "it is an archive, which is not looked into. Unpack it (in its folder: unzip a.zip).",
        ),
        (
            "a.tar.gz",
            tarred,
            "it is an archive, which is not looked into. Unpack it (in its folder: tar -xf a.tar.gz).",
        ),
        ("a.7z", zipped, "it is an archive, which is not looked into. Unpack it."),
        (
            "my set.csv.gz",
            lambda path: written(path, gzip.compress(b"x")),
            "it is compressed with gzip. Unpack it (in its folder: gunzip 'my set.csv.gz').",
        ),
        (
            "a.json",
            lambda path: written(path, gzip.compress(b"{}")),
            "it is compressed with gzip. Unpack it (in its folder: mv a.json a.json.gz && gunzip a.json.gz).",
        ),
        (
            "t.csv",
            lambda path: written(path, TABLE.encode("latin-1")),
            "it is not text in UTF-8: its byte 44 is 0xe9. Save it as UTF-8.",
        ),
        (
            "t.csv",
            lambda path: written(path, b"a\0b\0"),
            "it is not text in UTF-8: it holds null characters. Save it as UTF-8.",
        ),
        (
            "t.csv",
            lambda path: written(path, b"version https://git-lfs.github.com/spec/v1\n"),
            "it is a pointer of Git LFS. Fetch the file itself (git lfs pull).",
        ),
        ("t.csv", lambda path: written(path, b" \n"), "it is empty."),
        ("a.xml", lambda path: written(path, b"<annotation>"), "line 1: no element found."),
        (
            "a.json",
            lambda path: written(path, b'{"images": ['),
            "line 1, column 13: it is not JSON: Expecting value.",
        ),
        ("t.csv", lambda path: written(path, TABLE.encode("utf-16")), ""),
        ("t.csv", lambda path: written(path, ("é" * 2**16).encode()), ""),
        ("t.csv", lambda path: written(path, ("a" + "é" * 2**16).encode()), ""),
        ("a.json", lambda path: written(path, b"[]"), ""),
        ("a.xml", lambda path: written(path, b"<svg/>"), ""),
    ],
)
def test_why_a_file_cannot_be_opened(tmp_path, name, make, reason):
    assert why_closed(make(tmp_path / name)) == reason


def test_they_are_named_where_nothing_else_is_there(tmp_path):
    image_file(tmp_path / "a.jpg")
    zipped(tmp_path / "labels.xlsx")
    with pytest.raises(
        DataError, match=r"read\. labels\.xlsx: it is a spreadsheet .* as CSV\. Give"
    ) as error:
        prepare(tmp_path, Options(num_workers=1))
    assert "Pascal VOC" not in str(error.value)


def test_they_are_named_beside_annotations_of_another_format(tmp_path):
    for name in ("a", "b"):
        image_file(tmp_path / f"{name}.jpg")
        (tmp_path / f"{name}.txt").write_text("0 0.5 0.5 0.2 0.4\n")
    (tmp_path / "c.xml").write_text("<annotation><object>")
    (tmp_path / "t.csv").write_bytes(TABLE.encode("latin-1"))
    found = [
        (f.file, f.message)
        for f in prepare(tmp_path, Options(num_workers=1)).findings
        if f.kind.name == "file that cannot be opened"
    ]
    assert found == [
        ("t.csv", "it is not text in UTF-8: its byte 44 is 0xe9. Save it as UTF-8."),
        ("c.xml", "line 1: no element found."),
    ]


def test_a_format_reports_its_own_files_itself(tmp_path):
    for name in ("a", "b", "c"):
        annotated(tmp_path, name)
    (tmp_path / "d.xml").write_text("<annotation><object>")
    kinds = [f.kind.name for f in prepare(tmp_path, Options(num_workers=1)).findings]
    assert kinds == ["unreadable annotation"]
