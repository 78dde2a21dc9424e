from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation_files import locations, read_file
from boxtune.data import findings as kinds
from boxtune.data.formats.kitti import FORMAT

CAR = "Car 0.88 3 -0.69 0.00 192.37 402.31 374.00 1.60 1.57 3.23 -2.70 1.74 3.68 -1.29"
PEDESTRIAN = "Pedestrian 0.00 0 -0.20 712.40 143.00 810.73 307.92 1.89 0.48 1.20 1.84 1.47 8.41 0.01"
REGION = "DontCare -1 -1 -10 503.89 169.71 590.61 190.13 -1 -1 -1 -1000 -1000 -1000 -10"


@pytest.fixture
def label(tmp_path):
    """Write a label file; return its path."""

    def write(text, name="000007.txt"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def parsed(path):
    annotations, findings = read_file(FORMAT, path)
    return annotations, locations(findings)


def test_a_line_is_an_object_with_its_box_in_pixels(label):
    [annotation], findings = parsed(label(f"{CAR}\n{PEDESTRIAN}\n{REGION}\n"))
    assert findings == []
    assert annotation.filename == "000007.png"
    assert annotation.complete
    assert not annotation.normalized
    seen = [(item.class_name, item.edges, item.truncated, item.location) for item in annotation.objects]
    assert seen == [
        ("Car", (0.0, 192.37, 402.31, 374.0), True, "line 1"),
        ("Pedestrian", (712.4, 143.0, 810.73, 307.92), False, "line 2"),
        ("DontCare", (503.89, 169.71, 590.61, 190.13), False, "line 3"),
    ]


def test_detections_have_a_score_behind(label):
    path = label(f"{CAR} 0.97\n")
    [annotation], findings = parsed(path)
    assert FORMAT.recognises(path)
    assert (len(annotation.objects), findings) == (1, [])


def test_windows_line_ends_and_blank_lines(label):
    [annotation], findings = parsed(label(f"\ufeff{CAR}\r\n\r\n{PEDESTRIAN}\r\n"))
    assert [item.location for item in annotation.objects] == ["line 1", "line 3"]
    assert findings == []


def test_a_file_without_lines_is_a_image_without_objects(label):
    [annotation], findings = parsed(label(" \n"))
    assert annotation.objects == ()
    assert annotation.complete
    assert findings == []


def test_a_damaged_line_is_left_out_and_reported(label):
    broken = CAR.replace("402.31", "nan")
    [annotation], findings = parsed(label(f"{CAR}\n{broken}\nCar 0 0\n"))
    assert [item.location for item in annotation.objects] == ["line 1"]
    assert not annotation.complete
    assert findings == [(kinds.OBJECT_WITHOUT_BOX, "line 2"), (kinds.OBJECT_WITHOUT_BOX, "line 3")]


@pytest.mark.parametrize("text", ["0 0.5 0.5 0.2 0.2\n", "train\nval\n"])
def test_other_text_is_foreign(label, text):
    path = label(text)
    assert not FORMAT.recognises(path)
    assert parsed(path) == ([], [(kinds.FOREIGN, "")])


def test_what_is_no_text_is_unreadable(label):
    path = label("")
    path.write_bytes(b"\xff\x00\x80" * 10)
    assert not FORMAT.recognises(path)
    assert parsed(path) == ([], [(kinds.ANNOTATION_UNREADABLE, "")])


def test_absent_files_are_not_recognised():
    assert not FORMAT.recognises(Path("absent.txt"))


@given(
    fields=st.lists(
        st.sampled_from(["Car", "1", "-1e999", "nan", "\n", " ", "\x00", "1_0", "٣"]), max_size=40
    )
)
def test_any_text_is_read_or_reported(tmp_path_factory, fields):
    path = tmp_path_factory.mktemp("labels") / "a.txt"
    path.write_text(" ".join(fields), encoding="utf-8")
    FORMAT.recognises(path)
    annotations, findings = parsed(path)
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    if annotations:
        assert len(annotations[0].objects) + len(findings) == len(lines)
    else:
        assert findings == [(kinds.FOREIGN, "")]
