"""Several annotations of one image, as files and entries of any format give them."""

import json

import pytest

from boxtune.data import reading
from boxtune.data.image_record import Box
from voc_folder import annotated, annotation, element, image_file

HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


def read(folder):
    return reading.read(folder, num_workers=1)


def kinds(found):
    return [finding.kind.name for finding in found.findings]


def coco(folder, name, *entries, keypoints=()):
    """Write COCO JSON with an entry of a.jpg for each list of (class, bbox)."""
    classes = sorted({label for entry in entries for label, _ in entry})
    document = {
        "images": [{"id": n, "file_name": "a.jpg"} for n in range(len(entries))],
        "categories": [{"id": n, "name": label} for n, label in enumerate(classes)],
        "annotations": [
            {"image_id": n, "category_id": classes.index(label), "bbox": bbox, "keypoints": list(keypoints)}
            for n, entry in enumerate(entries)
            for label, bbox in entry
        ],
    }
    image_file(folder / "a.jpg")
    (folder / name).write_text(json.dumps(document))


def objects(found):
    (image,) = found.images
    return [(item.class_name, item.box) for item in image.objects]


def test_entries_of_one_file_are_joined_and_equal_boxes_count_once(tmp_path):
    coco(tmp_path, "x.json", [("cat", [4, 2, 16, 10])], [("cat", [4, 2, 16, 10]), ("dog", [24, 2, 8, 10])])
    found = read(tmp_path)
    assert objects(found) == [("cat", Box(0.1, 0.1, 0.6, 0.5)), ("dog", Box(0.1, 0.6, 0.6, 0.8))]
    assert kinds(found) == ["annotations joined"]
    assert "2 entries; equal objects: 1" in found.findings[0].message
    assert found.num_annotations == 1


def test_files_are_joined_and_what_only_one_of_them_says_is_kept(tmp_path):
    coco(tmp_path, "instances.json", [("cat", [4, 2, 16, 10])])
    coco(tmp_path, "points.json", [("cat", [4.2, 2, 16, 10])], keypoints=[8, 4, 2])
    found = read(tmp_path)
    (item,) = found.images[0].objects
    assert item.box == Box(0.1, 0.1, 0.6, 0.5)
    assert [(point.x, point.y) for point in item.keypoints] == [(0.2, 0.2)]


def test_names_with_and_without_a_folder_are_one_image(tmp_path):
    image_file(tmp_path / "photos" / "a.jpg")
    rows = "a.jpg,40,20,cat,4,2,20,12\nphotos/a.jpg,40,20,dog,24,2,32,12\n"
    (tmp_path / "x.csv").write_text(HEADER + rows)
    assert [name for name, _ in objects(read(tmp_path))] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("second", "lost", "only_there"),
    [
        ([("cat", [5, 3, 16, 10])], [], "nothing"),
        ([("cat", [5, 3, 16, 10]), ("cat", [30, 2, 8, 10])], ["cat"], "cat 1"),
    ],
)
def test_two_drawings_of_one_object_are_not_two_objects(tmp_path, second, lost, only_there):
    coco(tmp_path, "x.json", [("cat", [4, 2, 16, 10])], second)
    found = read(tmp_path)
    assert objects(found) == [("cat", Box(0.1, 0.1, 0.6, 0.5))]
    left_out = ["object of an annotation that is not used"] * len(lost)
    assert kinds(found) == ["image annotated twice", *left_out]
    assert f"Only here: {only_there}." in found.findings[0].message
    assert found.num_annotations == 1


def test_a_class_of_which_nothing_is_left_is_an_error(tmp_path):
    coco(tmp_path, "x.json", [("cat", [4, 2, 16, 10])], [("cat", [5, 3, 16, 10]), ("dog", [30, 2, 8, 10])])
    found = read(tmp_path)
    assert [name for name, _ in objects(found)] == ["cat"]
    assert kinds(found)[-1] == "class lost"
    assert 'all objects of "dog" (1)' in found.findings[-1].message


def test_what_is_left_out_counts_as_loss(tmp_path):
    coco(
        tmp_path,
        "x.json",
        [("cat", [4, 2, 4, 4])],
        [("cat", [5, 2, 4, 4]), *[("cat", [x, 9, 3, 3]) for x in (9, 20)]],
    )
    assert "2 of 3 objects (67%)" in reading.why_unusable(read(tmp_path), 0.5)


def test_objects_of_one_annotation_and_none_of_another_are_those_of_the_image(tmp_path):
    annotated(tmp_path / "one", "a", element("cat"))
    annotation(tmp_path / "two" / "a.xml")
    found = read(tmp_path)
    assert [name for name, _ in objects(found)] == ["cat"]
    assert kinds(found) == ["annotations joined"]


def test_an_image_that_lost_all_objects_is_not_background_for_an_empty_annotation(tmp_path):
    annotated(tmp_path / "one", "a", element("cat", xmin=4, xmax=4))
    annotation(tmp_path / "two" / "a.xml")
    found = read(tmp_path)
    assert found.images == ()
    assert "no usable object" in kinds(found)
