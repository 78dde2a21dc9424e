import json

import pytest

from boxtune import cli
from boxtune.check import check
from boxtune.data.preparation import Options
from boxtune.report.data_set import columns
from voc_folder import annotated, annotation, element, image_file


@pytest.fixture
def photos(tmp_path):
    """Ten images with a cat, one annotation without image, one image without annotation."""
    folder = tmp_path / "photos"
    for number in range(10):
        annotated(folder, f"{number}")
    annotation(folder / "lost.xml", element())
    image_file(folder / "unused.jpg")
    return folder


def test_what_is_there_and_what_is_wrong_is_reported(photos, capsys):
    assert cli.main(["check", str(photos)]) == 0
    page = capsys.readouterr().out
    assert "Pascal VOC XML" in page
    assert (
        "error: image not found (1): skip the image. Add the image, or delete the annotation.\n  lost.xml: "
        in page
    )
    assert "note: image without annotation (1): keep. " in page
    assert "1 error, 0 warnings, 1 note; convert would take this." in page
    assert ["images", "8", "2"] in [line.split() for line in page.splitlines()]


def test_a_set_that_convert_would_refuse_has_its_own_status(photos, tmp_path, capsys):
    (tmp_path / "labels.pbtxt").write_text("item { id: 1 name: 'dog' }")
    assert cli.main(["check", str(photos), "--label_map", str(tmp_path / "labels.pbtxt")]) == 1
    page = capsys.readouterr().out
    assert "error: class not in the label map (1): refuse." in page
    assert "convert would refuse this: " in page
    assert (
        cli.main(["check", str(photos), "--label_map", str(tmp_path / "labels.pbtxt"), "--rename", "cat=dog"])
        == 0
    )


def test_the_report_has_every_finding(photos, tmp_path):
    for number in range(5):
        image_file(photos / f"unused-{number}.jpg")
    text = str(check(photos, Options(num_workers=1), report=tmp_path / "new" / "report.json"))
    assert "... and 3 more" in text
    content = json.loads((tmp_path / "new" / "report.json").read_text())
    assert content["format"] == "voc"
    assert content["annotated_images"] == 11
    assert content["parts"]["train"] == {"images": 8, "objects": 8, "classes": {"cat": 8}}
    assert [kind["count"] for kind in content["kinds"]] == [1, 6]
    assert len(content["findings"]) == 7
    assert content["findings"][-1]["kind"] == "image without annotation"


def test_nothing_is_changed(photos):
    before = {path: path.stat().st_mtime_ns for path in photos.iterdir()}
    check(photos, Options(num_workers=1))
    assert {path: path.stat().st_mtime_ns for path in photos.iterdir()} == before


def test_the_page_is_written_and_compares_with_anchors(photos, tmp_path):
    page = tmp_path / "page.html"
    config = tmp_path / "pipeline.config"
    config.write_text("model { ssd { feature_extractor { type: 'ssd_mobilenet_v2_fpn_keras' } } }")
    check(photos, Options(num_workers=1), page=page, pipeline_config_path=config)
    assert page.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rename", "cat"], '"cat" is not OLD=NEW'),
        (["--folds", "1"], "1 is not in 2 to"),
        (["--num_workers", "0"], "0 is not in 1 to 1024"),
    ],
)
def test_flags_are_checked(photos, capsys, arguments, message):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["check", str(photos), *arguments])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_a_table_of_long_names_and_many_classes_fits_a_terminal(tmp_path, capsys):
    long = "a very long name of a class " * 5
    for number in range(3):
        names = [long, "猫" * 60, *(f"class {name:03}" for name in range(70)), "class 069", "猫" * 60]
        image_file(tmp_path / f"{number}.jpg", width=200, height=200)
        boxes = [element(name.strip(), i, i, 100 + i, 100 + i) for i, name in enumerate(names)]
        annotation(tmp_path / f"{number}.xml", *boxes, size=(200, 200))
    assert cli.main(["check", str(tmp_path)]) == 0
    page = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert len(page) == 3 + 50 + 1
    assert max(map(columns, page)) <= 90
    assert len({columns(line) for line in page}) == 1
    assert any(line.strip().startswith("a very long name") and "class a...lass a" in line for line in page)
    assert any(line.startswith("  class 069") for line in page)
    assert any("猫...猫" in line for line in page)
    assert page[-1].split()[:5] == ["...", "and", "22", "classes", "with"]
