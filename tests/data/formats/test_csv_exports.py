import pytest

from annotation_files import locations, read, recognised
from boxtune.data import findings as kinds
from boxtune.data.formats import csv_table
from boxtune.data.formats.csv_exports import AUTOML, MAKESENSE, VIA
from boxtune.data.reading import read as read_set
from voc_folder import image_file

HEADER = "label_name,bbox_x,bbox_y,bbox_width,bbox_height,image_name,image_width,image_height"


def parsed(one, tmp_path, *rows, encoding="utf-8"):
    (tmp_path / "labels.csv").write_text("".join(f"{row}\r\n" for row in rows), encoding=encoding)
    assert recognised(one, tmp_path) == ["labels.csv"]
    assert recognised(csv_table.FORMAT, tmp_path) == []
    return read(one, tmp_path)


def boxes(annotations):
    return {
        annotation.filename: [(item.class_name, item.edges) for item in annotation.objects]
        for annotation in annotations
    }


@pytest.mark.parametrize(
    "row",
    [
        "TRAIN,gs://bucket/a.jpg,cup,0.25,0.125,,,0.5,0.75,,",
        "VALIDATE,gs://bucket/a.jpg,cup,0.25,0.125,0.5,0.125,0.5,0.75,0.25,0.75",
        "test,gs://bucket/a.jpg,cup,0.5,0.75,,,0.25,0.125,,",
        "UNASSIGNED,gs://bucket/a.jpg,cup,0.25,0.125,,,0.5,0.75,,",
        "gs://bucket/a.jpg,cup,0.25,0.125,,,0.5,0.75,,",
    ],
)
def test_automl(tmp_path, row):
    annotations, findings = parsed(AUTOML, tmp_path, row)
    assert findings == []
    assert boxes(annotations) == {"gs://bucket/a.jpg": [("cup", (0.25, 0.125, 0.5, 0.75))]}
    assert annotations[0].normalized


def test_automl_of_several_images_and_parts(tmp_path):
    annotations, findings = parsed(
        AUTOML,
        tmp_path,
        "TRAIN,p/a.jpg,cup,0,0,,,1,1,,",
        "TEST,p/b.jpg,,,,,,,,,",
        "TRAIN,p/a.jpg,pen,0,0,,,0.5,1,,",
        encoding="utf-8-sig",
    )
    assert [item.class_name for item in annotations[0].objects] == ["cup", "pen"]
    assert [annotation.complete for annotation in annotations] == [True, True]
    assert [annotation.subset for annotation in annotations] == ["TRAIN", "TEST"]
    assert findings == []


def test_automl_that_is_wrong(tmp_path):
    annotations, findings = parsed(
        AUTOML,
        tmp_path,
        "TRAIN,a.jpg,cup,0,0,,,1,1,,",
        "TRAIN,b.jpg,cup,0,0,,,1,,,",
        "TRAIN,c.jpg,cup,0,0,,,x,1,,",
        "TRAIN,d.jpg,,0,0,,,1,1,,",
        "TRAIN,e.jpg,cup,0,0",
    )
    assert [len(annotation.objects) for annotation in annotations] == [1, 0, 0, 0]
    assert locations(findings) == [
        (kinds.OBJECT_WITHOUT_BOX, "line 2"),
        (kinds.OBJECT_WITHOUT_BOX, "line 3"),
        (kinds.OBJECT_WITHOUT_NAME, "line 4"),
        (kinds.OBJECT_WITHOUT_BOX, "line 5"),
    ]


@pytest.mark.parametrize("header", [[HEADER], []])
def test_makesense(tmp_path, header):
    annotations, findings = parsed(
        MAKESENSE,
        tmp_path,
        *header,
        "cup,4,3,10,20,a.jpg,160,120",
        "pen,0,0,1.5,2,b.jpg,16,12",
        "cup,5,5,1,1,a.jpg,160,120",
    )
    assert findings == []
    assert boxes(annotations) == {
        "a.jpg": [("cup", (4, 3, 14, 23)), ("cup", (5, 5, 6, 6))],
        "b.jpg": [("pen", (0, 0, 1.5, 2))],
    }
    assert [annotation.size for annotation in annotations] == [(160, 120), (16, 12)]


def test_a_row_of_another_layout_is_reported(tmp_path):
    _, findings = parsed(MAKESENSE, tmp_path, HEADER, "cup,4,3,10,20,a.jpg,160,120", "cup,4,3,10")
    assert locations(findings) == [(kinds.OBJECT_WITHOUT_BOX, "line 3")]


@pytest.mark.parametrize(
    "row", ["", "a,b", "a.jpg,1,2,3,4,cup,40,30", "filename,class,xmin,ymin,xmax,ymax", '"']
)
def test_other_tables_are_not_theirs(tmp_path, row):
    (tmp_path / "labels.csv").write_text(row + "\n")
    assert not [one for one in (AUTOML, MAKESENSE, VIA) if recognised(one, tmp_path)]


def test_fractions_become_pixels_of_the_image(tmp_path):
    image_file(tmp_path / "a.jpg", width=40, height=20)
    (tmp_path / "labels.csv").write_text("TRAIN,gs://x/a.jpg,cup,0.25,0.5,,,0.5,1,,\n")
    (image,) = read_set(tmp_path, num_workers=1).images
    assert image.objects[0].box == (0.5, 0.25, 1.0, 0.5)
