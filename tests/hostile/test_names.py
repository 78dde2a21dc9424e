"""Names that a terminal would obey, and names of nothing, in every file that has names."""

import json

import pytest

from boxtune.data.label_map import Label, LabelMap, write_label_map
from hostile import project
from voc_folder import annotation, element, image_file

pytestmark = [pytest.mark.hostile, pytest.mark.usefixtures("graphs_as_traced", "tiny")]

ESCAPE = "\x1b[2J\x1b]0;owned\x07"


def coco(folder, *names):
    """Write images and their annotations in COCO's format: one object of each class on each image."""
    document = {
        "images": [{"id": number, "file_name": f"{ESCAPE}{number}.jpg"} for number in range(10)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names, start=1)],
        "annotations": [
            {"id": 10 * image + cls, "image_id": image, "category_id": cls, "bbox": [4, 4, 20 + cls, 20]}
            for image in range(10)
            for cls in range(1, len(names) + 1)
        ],
    }
    folder.mkdir()
    for number in range(10):
        image_file(folder / f"{ESCAPE}{number}.jpg", width=60, height=60, color=(20 * number, 40, 90))
    (folder / f"{ESCAPE}.json").write_text(json.dumps(document))


def test_no_escape_reaches_the_terminal(tmp_path, capfd):
    coco(tmp_path / "photos", f"cat{ESCAPE}", "dog")
    folder = tmp_path / "project"
    folder.mkdir()
    (tmp_path / "photos").rename(folder / "photos")
    steps = [
        ["check", folder / "photos"],
        ["convert", folder / "photos", "--output_dir", folder / "records"],
        ["config", folder / "records", "--output", folder / "pipeline.config", "--num_steps", 2, "--batch_size", 2,
         "--model", "ssd_mobilenet_v2_keras", *project.OVERRIDES],
        ["train", "--pipeline_config_path", folder / "pipeline.config", "--model_dir", folder / "model"],
        ["evaluate", "--model_dir", folder / "model"],
        ["export", "--model_dir", folder / "model", "--output_dir", folder / "exported"],
        ["predict", folder / "exported", folder / "photos", "--output_dir", folder / "found", "--min_score", 0],
        ["check", folder / "records", "--format", "tfrecord"],
    ]  # fmt: skip
    for arguments in steps:
        status, output = project.run(arguments)
        assert status == 0, output
        assert output
        assert "\x1b" not in output, (arguments[0], output)
        assert "\x07" not in output
    (folder / "photos" / f"{ESCAPE}1.jpg").write_bytes(b"<html>")
    status, output = project.run(steps[0])
    assert "\x1b" not in output
    assert "a web page" in output
    status, output = project.run(steps[6])
    assert status == 1
    assert "\x1b" not in output
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    "flag", [["--rename", f"{ESCAPE}=b"], ["--drop", ESCAPE], ["--label_map", f"{ESCAPE}.pbtxt"]]
)
def test_nor_does_that_of_an_error(tmp_path, flag):
    annotation(tmp_path / "photos" / "a.xml", element("cat"))
    image_file(tmp_path / "photos" / "a.jpg")
    status, output = project.run(
        ["convert", tmp_path / "photos", "--output_dir", tmp_path / "records", *flag]
    )
    assert status == 2
    assert "boxtune: " in output
    assert "\x1b" not in output


@pytest.mark.parametrize("name", ["", " ", "\t\n", "\u00a0"])
def test_a_class_without_a_name_is_no_class(tmp_path, name):
    coco(tmp_path / "photos", name, "dog")
    status, output = project.run(["check", tmp_path / "photos"])
    assert status == 0
    assert "error: object without name (10): skip the object." in output
    write_label_map(LabelMap((Label(1, "dog"), Label(2, name))), tmp_path / "map.pbtxt")
    status, output = project.run(
        [
            "convert",
            tmp_path / "photos",
            "--output_dir",
            tmp_path / "records",
            "--label_map",
            tmp_path / "map.pbtxt",
        ]
    )
    assert status == 2
    assert "the class of id 2 has no name" in output
