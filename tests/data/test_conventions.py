"""Sets whose boxes are written in another way than their format says: refused, with the flag that would fit."""

import json

import pytest
from PIL import Image

from boxtune.data.conventions import Assumed, Convention
from boxtune.data.preparation import Options, prepare
from boxtune.errors import DataError
from voc_folder import annotated, annotation, element, image_file

WIDTH, HEIGHT = 200, 100
BOXES = [(20, 10, 60, 50), (110, 30, 180, 95), (90, 50, 140, 80), (30, 40, 195, 90)]
"""Corners in pixels."""


def sides(box):
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def fractions(numbers):
    return [round(number / side, 4) for number, side in zip(numbers, (WIDTH, HEIGHT) * 2, strict=True)]


def images(folder, boxes):
    for number in range(len(boxes)):
        image_file(folder / f"{number}.jpg", width=WIDTH, height=HEIGHT)


def voc(folder, boxes):
    images(folder, boxes)
    for number, box in enumerate(boxes):
        annotation(folder / f"{number}.xml", element("cat", *box), size=(WIDTH, HEIGHT))


def coco(folder, boxes, **more):
    images(folder, boxes)
    document = {
        "images": [{"id": n, "file_name": f"{n}.jpg"} for n in range(len(boxes))],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"image_id": n, "category_id": 1, "bbox": list(box)} | more for n, box in enumerate(boxes)
        ],
    }
    (folder / "boxes.json").write_text(json.dumps(document))


def yolo(folder, boxes):
    images(folder, boxes)
    for number, box in enumerate(boxes):
        (folder / f"{number}.txt").write_text(f"0 {' '.join(map(str, box))}\n")


def csv(folder, boxes):
    images(folder, boxes)
    rows = (f"{number}.jpg,{','.join(map(str, box))},cat\n" for number, box in enumerate(boxes))
    (folder / "boxes.csv").write_text("".join(["filename,xmin,ymin,xmax,ymax,class\n", *rows]))


def prepared(folder, **options):
    return prepare(folder, Options(num_workers=1, validation_fraction=0.25, **options))


def boxes(ready):
    found = sorted((image for part in ready.parts.values() for image in part), key=lambda image: image.name)
    return [
        [
            round(number)
            for number in (box.xmin * WIDTH, box.ymin * HEIGHT, box.xmax * WIDTH, box.ymax * HEIGHT)
        ]
        for image in found
        for box in [image.objects[0].box]
    ]


@pytest.mark.parametrize(
    ("write", "numbers", "flag"),
    [
        (voc, fractions, "normalized"),
        (voc, sides, "sides"),
        (csv, sides, "sides"),
        (csv, lambda box: fractions(sides(box)), "sides,normalized"),
        (csv, lambda box: [box[0], box[2], box[1], box[3]], "xxyy"),
        (csv, lambda box: [box[1], box[0], box[3], box[2]], "yxyx"),
        (coco, lambda box: fractions(sides(box)), "normalized"),
        (coco, lambda box: box, "corners"),
        (yolo, fractions, "corners"),
    ],
)
def test_another_convention_is_refused_and_the_flag_for_it_reads_it(tmp_path, write, numbers, flag):
    write(tmp_path, list(map(numbers, BOXES)))
    refused = prepared(tmp_path)
    assert "boxes written in another way" in refused.refusal
    assert f"--boxes {flag}" in refused.refusal
    ready = prepared(tmp_path, boxes=flag)
    assert ready.refusal == ""
    assert boxes(ready) == [list(box) for box in BOXES]


@pytest.mark.parametrize(("write", "numbers"), [(voc, list), (csv, list), (coco, sides)])
def test_a_set_that_is_written_as_its_format_says_is_taken(tmp_path, write, numbers):
    write(tmp_path, list(map(numbers, BOXES)))
    ready = prepared(tmp_path)
    assert (ready.refusal, ready.findings) == ("", ())
    assert boxes(ready) == [list(box) for box in BOXES]


def centres(box):
    return [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]]


@pytest.mark.parametrize(
    ("write", "usual", "others", "message"),
    [
        (
            voc,
            list,
            [fractions] * 4,
            "4 boxes fit their images as normalized,corners, those of the rest as pixels,corners. They are in 0.xml,"
            " 1.xml, 2.xml and 1 more.",
        ),
        (
            coco,
            sides,
            [lambda box: fractions(sides(box))] * 3,
            "3 boxes fit their images as normalized,sides, those of the rest as pixels,sides. They are in boxes.json.",
        ),
        (
            yolo,
            lambda box: fractions(centres(box)),
            [centres] * 2,
            "2 boxes fit their images as pixels,centres, those of the rest as normalized,centres. They are in 0.txt,"
            " 1.txt.",
        ),
        (
            csv,
            list,
            [sides] * 15,
            "10 boxes fit their images as pixels,sides, those of the rest as pixels,corners. They are in boxes.csv.",
        ),
    ],
)
def test_a_part_that_is_written_in_another_way_is_refused(tmp_path, write, usual, others, message):
    ways = others + [usual] * (20 - len(others))
    write(tmp_path, [way(box) for way, box in zip(ways, BOXES[1:] * 7, strict=False)])
    found = [f.message for f in prepared(tmp_path).findings if f.kind.name == "boxes written in two ways"]
    assert found == [message]
    assert "boxes written in two ways" in prepared(tmp_path).refusal
    assert "boxes written in two ways" not in prepared(tmp_path, boxes="as_written").refusal


def test_a_file_that_is_written_in_another_way_is_refused_however_many_others_there_are(tmp_path):
    voc(tmp_path, BOXES * 30)
    image_file(tmp_path / "b.jpg", width=WIDTH, height=HEIGHT)
    several = [sides((x, y, x + 40, y + 50)) for x in (20, 60, 90) for y in (10, 20, 30, 40)]
    annotation(tmp_path / "b.xml", *[element("cat", *box) for box in several], size=(WIDTH, HEIGHT))
    assert (
        "12 boxes fit their images as pixels,sides, those of the rest as pixels,corners. They are in b.xml."
        in prepared(tmp_path).refusal
    )


def test_a_single_box_in_fractions_is_no_tiny_box(tmp_path):
    voc(tmp_path, [*BOXES * 5, fractions(BOXES[0])])
    ready = prepared(tmp_path)
    assert ready.refusal == ""
    assert [(f.kind.name, f.file) for f in ready.findings if f.kind.action.startswith("skip")] == [
        ("box in fractions among pixels", "20.xml"),
        ("no usable object", "20.xml"),
    ]


def test_boxes_that_reach_out_are_not_taken_for_another_form(tmp_path):
    far = [(120, 60, 230, 130), (10, 50, 60, 120), (100, 20, 240, 90)]
    voc(tmp_path, [*BOXES * 4, *far * 5])
    assert prepared(tmp_path).refusal == ""


def test_a_slip_is_repaired_and_not_taken_for_a_convention(tmp_path):
    voc(tmp_path, [*BOXES[:3], (195, 90, 30, 40)])
    ready = prepared(tmp_path)
    assert ready.refusal == ""
    assert boxes(ready) == [list(box) for box in BOXES]


def test_corners_that_are_swapped_everywhere_are_no_slip(tmp_path):
    voc(tmp_path, [box[2:] + box[:2] for box in BOXES])
    assert "4 of 4 boxes do not fit" in prepared(tmp_path).refusal
    ready = prepared(tmp_path, boxes="as_written")
    assert ready.refusal == ""
    assert boxes(ready) == [list(box) for box in BOXES]


def test_the_area_of_an_object_tells_corners_from_sides(tmp_path):
    small = [(10, 10, 30, 20)] * 4
    coco(tmp_path, small, area=200)
    assert "--boxes corners" in prepared(tmp_path).refusal
    coco(tmp_path, small, area=600)
    assert prepared(tmp_path).refusal == ""


def test_outlines_stay_where_they_are_when_boxes_are_read_anew(tmp_path):
    x1, y1, x2, y2 = BOXES[0]
    coco(tmp_path, BOXES[:1] * 4, segmentation=[[x1, y1, x2, y1, x2, y2, x1, y2]])
    assert "--boxes corners" in prepared(tmp_path).refusal
    ready = prepared(tmp_path, boxes="corners")
    assert boxes(ready) == [list(BOXES[0])] * 4
    assert ready.parts["train"][0].objects[0].mask.polygons[0][:2] == (0.1, 0.1)


def test_a_word_that_is_not_known_is_answered_with_the_nearest():
    with pytest.raises(DataError, match=r'"normalised".*Did you mean "normalized"'):
        Assumed("normalised")
    with pytest.raises(DataError, match="upright, stored"):
        Assumed(exif="sideways")
    assert Assumed("normalized").convention(Convention("sides", False)) == Convention("sides", True)


# EXIF


@pytest.mark.parametrize(
    ("orientation", "exif", "expected"),
    [
        (6, "upright", (0.25, 0.5, 0.75, 0.75)),
        (6, "stored", (0.5, 0.25, 0.75, 0.75)),
        (3, "upright", (0.25, 0.5, 0.75, 0.75)),
        (3, "stored", (0.25, 0.25, 0.75, 0.5)),
    ],
)
def test_boxes_of_turned_images_are_refused_until_it_is_said_how_they_were_drawn(
    tmp_path, orientation, exif, expected
):
    tag = Image.Exif()
    tag[0x0112] = orientation
    for number in range(4):
        image_file(tmp_path / f"{number}.jpg", width=WIDTH, height=HEIGHT, exif=tag)
        (tmp_path / f"{number}.txt").write_text("0 0.625 0.5 0.25 0.5\n")
    refused = prepared(tmp_path)
    assert "--exif upright" in refused.refusal
    ready = prepared(tmp_path, exif=exif)
    assert ready.refusal == ""
    box = ready.parts["train"][0].objects[0].box
    assert tuple(round(side, 4) for side in box) == expected


def test_a_turned_image_without_objects_is_in_no_doubt(tmp_path):
    tag = Image.Exif()
    tag[0x0112] = 6
    image_file(tmp_path / "turned.jpg", exif=tag)
    annotation(tmp_path / "turned.xml", size=None)
    for name in "ab":
        annotated(tmp_path, name)
    assert prepared(tmp_path).refusal == ""


# Columns without header


def table(folder, *rows):
    for number in range(4):
        image_file(folder / f"{number}.jpg", width=WIDTH, height=HEIGHT)
    (folder / "boxes.csv").write_text("".join(f"{n}.jpg,{row}\n" for n, row in enumerate(rows)))


def test_columns_without_header_are_those_that_fit_the_rows(tmp_path):
    table(tmp_path, *(f"{','.join(map(str, box))},1,{WIDTH},{HEIGHT}" for box in BOXES))
    ready = prepared(tmp_path)
    assert ready.refusal == ""
    assert boxes(ready) == [list(box) for box in BOXES]
    table(tmp_path, *(f"{WIDTH},{HEIGHT},1,{','.join(map(str, box))}" for box in BOXES))
    assert boxes(prepared(tmp_path)) == [list(box) for box in BOXES]


@pytest.mark.parametrize(
    "row",
    [
        "5,10,60,70,90",  # the class may be the first number or the last
        "50,50,7,8,9,40,40",  # the image's size may be the first numbers or the last; neither is that of the image
        "60,60,9,20,10,50,40",
    ],
)
def test_columns_that_could_be_others_are_refused(tmp_path, row):
    table(tmp_path, *[row] * 4)
    assert "columns uncertain" in prepared(tmp_path).refusal


def test_one_box_that_reaches_out_says_nothing_about_the_set(tmp_path):
    coco(tmp_path, [sides((20, 10, 30, 20)), sides((25, 20, 35, 30)), sides((40, 30, 180, 110))])
    assert prepared(tmp_path).refusal == ""
