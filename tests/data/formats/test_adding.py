"""The format that docs/data.md writes as an example, as it is written there: read by `check` and `convert`."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from annotation_files import assert_survives
from boxtune import check, convert
from boxtune.data import annotations, findings, recognition
from boxtune.data.formats import json_text, shapes
from boxtune.data.preparation import Options

DOCS = Path(__file__).parents[3] / "docs" / "data.md"
CAT = {"class": "cat", "left": 1, "top": 2, "right": 11, "bottom": 12}


@pytest.fixture
def added(monkeypatch):
    """The format of the docs, among those that are known."""
    code = DOCS.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    names = {"Iterator": Iterator, "kinds": findings, "shapes": shapes} | vars(annotations) | vars(json_text)
    exec(compile(code, str(DOCS), "exec"), names)
    monkeypatch.setattr(recognition, "FORMATS", (*recognition.FORMATS, names["FORMAT"]))
    return names["FORMAT"]


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        Image.effect_noise((40, 30), 50 + number).save(folder / f"{number}.png")
        (folder / f"{number}.json").write_text(json.dumps({"image": f"{number}.png", "boxes": [CAT]}))
    return folder


def test_it_is_recognised_checked_and_converted(added, photos, tmp_path):
    found = check(photos, Options(num_workers=1)).prepared
    assert list(found.reading.formats.values()) == [added]
    assert [image.objects[0].class_name for image in found.reading.images] == ["cat"] * 4
    convert(photos, tmp_path / "records", Options(num_workers=1))
    again = check(tmp_path / "records", Options(num_workers=1)).prepared.reading
    assert [image.objects[0].box.xmax for image in again.images] == pytest.approx([11 / 40] * 4)


def test_an_object_without_a_box_is_a_finding(added, photos):
    (photos / "0.json").write_text(json.dumps({"image": "0.png", "boxes": [CAT | {"left": None}, CAT]}))
    finding, *_ = check(photos, Options(num_workers=1)).prepared.findings
    assert (finding.kind, finding.where) == (findings.OBJECT_WITHOUT_BOX, "0.json, boxes[0]")


def test_junk_does_not_break_it(added, tmp_path):
    assert_survives(added, tmp_path, {"image": "a.png", "boxes": [CAT, CAT | {"left": 3}]})
