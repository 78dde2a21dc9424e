import json
from pathlib import Path

import numpy as np
import pytest
from faster_coco_eval import COCO
from hypothesis import given
from hypothesis import strategies as st

from annotation_files import read_file, read_json
from boxtune.data import findings as kinds
from boxtune.data import masks
from boxtune.data.formats import coco
from boxtune.data.formats.coco import FORMAT, write
from boxtune.data.image_record import Box, ImageRecord, ImageSource, Keypoint, ObjectRecord
from boxtune.data.label_map import Label, LabelMap
from boxtune.data.masks import Mask
from boxtune.errors import DataError

IMAGE = {"id": 7, "file_name": "photos/a.jpg", "width": 40, "height": 20}
CATEGORIES = [{"id": 0, "name": "cat"}, {"id": 3, "name": "dog", "keypoints": ["nose", "tail"]}]
CAT = {"id": 11, "image_id": 7, "category_id": 0, "bbox": [4, 2, 16, 10]}
SQUARE = [1, 1, 5, 1, 5, 5, 1, 5]


def document(*annotations, images=(IMAGE,), categories=CATEGORIES, **more):
    return {"images": list(images), "annotations": list(annotations), "categories": categories, **more}


@pytest.fixture
def read(tmp_path):
    """Read a document; return its annotations, and kind and place of each finding."""

    def read(content):
        path = tmp_path / "annotations.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        annotations, findings = read_file(FORMAT, path)
        return annotations, [(item.kind, item.location) for item in findings]

    return read


# Images and boxes


def test_a_box_is_a_corner_and_two_sides_in_pixels(read):
    [annotation], findings = read(document(CAT))
    assert findings == []
    assert (annotation.filename, annotation.size, annotation.location) == (
        "photos/a.jpg",
        (40, 20),
        "images[0] (id 7)",
    )
    assert annotation.complete
    assert not annotation.normalized
    [item] = annotation.objects
    assert (item.class_name, item.edges, item.location) == ("cat", (4, 2, 20, 12), "annotations[0] (id 11)")
    assert (item.is_crowd, item.area, item.mask, item.keypoints, item.weight) == (False, None, None, (), 1)


def test_images_keep_their_objects_whatever_the_order(read):
    other = {"id": 2, "file_name": "b.jpg"}
    annotations, findings = read(
        document(CAT | {"image_id": 2}, CAT, CAT | {"image_id": 2, "id": 5}, images=[IMAGE, other])
    )
    assert findings == [(kinds.NOT_READ, "annotations")]  # two have the id 11
    assert [[item.location[:14] for item in one.objects] for one in annotations] == [
        ["annotations[1]"],
        ["annotations[0]", "annotations[2]"],
    ]
    assert annotations[1].size is None


def test_a_image_without_objects_is_background(read):
    [annotation], findings = read(document())
    assert (annotation.objects, annotation.complete, findings) == ((), True, [])


@pytest.mark.parametrize(
    "categories",
    [
        {"0": "cat", "3": "dog"},
        {"cat": 0, "dog": 3},
        {"0": {"name": "cat"}, "3": {"name": "dog", "supercategory": "pet"}},
        {"cat": {"id": 0}, "dog": {"id": 3}},
        {"0": {"id": 0, "name": "cat"}, "1": {"id": 3, "name": "dog"}},
    ],
)
def test_categories_may_be_an_object(read, tmp_path, categories):
    content = document(CAT, CAT | {"category_id": 3, "id": 5}, categories=categories)
    [annotation], findings = read(content)
    assert ([item.class_name for item in annotation.objects], findings) == (["cat", "dog"], [])


def test_categories_of_one_name_are_one_class_which_is_said(tmp_path):
    same = [*CATEGORIES, {"id": 8, "name": "cat"}, {"id": 9}, {"id": 10}]
    [annotation], findings = read_json(
        FORMAT, tmp_path, document(CAT, CAT | {"category_id": 8}, categories=same)
    )
    assert [item.class_name for item in annotation.objects] == ["cat", "cat"]
    assert (kinds.CLASS_NUMBERS, 'numbers 0, 8 are all "cat".') in [(f.kind, f.message) for f in findings]


@pytest.mark.parametrize(("image_id", "given_id"), [("7", 7), (7, "7"), (7.0, 7), ("a", "a")])
def test_ids_may_be_numbers_or_strings(read, image_id, given_id):
    [annotation], findings = read(document(CAT | {"image_id": given_id}, images=[IMAGE | {"id": image_id}]))
    assert (len(annotation.objects), findings) == (1, [])


@pytest.mark.parametrize(
    ("names", "filename"),
    [
        ({"file_name": "a.jpg", "coco_url": "http://host/b.jpg"}, "a.jpg"),
        ({"file_name": "train\\my cats\\a.jpg"}, "train/my cats/a.jpg"),
        ({"file_name": "100%25.jpg"}, "100%25.jpg"),
        (
            {"coco_url": "http://images.cocodataset.org/train2017/000000000009.jpg"},
            "http://images.cocodataset.org/train2017/000000000009.jpg",
        ),
        ({"file_name": "q?d=1&x.jpg"}, "q?d=1&x.jpg"),
        ({"file_name": None}, ""),
        ({}, ""),
    ],
)
def test_the_name_of_a_image(read, names, filename):
    [annotation], _ = read(document(images=[{"id": 7} | names]))
    assert annotation.filename == filename


def test_crowd_area_and_attributes(read):
    attributes = {
        "difficult": True,
        "truncated": 1,
        "group_of": "true",
        "weight": 0.5,
        "view": "Left",
        "colour": "red",
    }
    [annotation], findings = read(document(CAT | {"iscrowd": 1, "area": 99.5, "attributes": attributes}))
    [item] = annotation.objects
    assert findings == []
    assert (item.is_crowd, item.area) == (True, 99.5)
    assert (item.difficult, item.truncated, item.group_of, item.weight, item.view) == (
        True,
        True,
        True,
        0.5,
        "Left",
    )


@pytest.mark.parametrize("value", [-1, "many", None, [], True, float("nan"), float("inf"), 10**400])
def test_an_area_or_weight_that_is_none_is_left_out(read, value):
    [annotation], _ = read(document(CAT | {"area": value, "attributes": {"weight": value}}))
    assert (annotation.objects[0].area, annotation.objects[0].weight) == (None, 1)


# Masks and keypoints


def test_polygons_stay_in_pixels(read):
    [annotation], findings = read(document(CAT | {"segmentation": [SQUARE, [7, 7, 9, 7, 9, 9], []]}))
    assert findings == []
    assert annotation.objects[0].mask == Mask(polygons=(tuple(SQUARE), (7, 7, 9, 7, 9, 9)))


# On 2 rows and 3 columns one pixel, in the middle below: 3 zeros, 1 one, 2 zeros; a digit is a character from "0" on.
@pytest.mark.parametrize("counts", ["312", [3, 1, 2], "b'312'", 'b"312"'])
def test_run_lengths_compressed_or_not(read, counts):
    [annotation], findings = read(document(CAT | {"segmentation": {"size": [2, 3], "counts": counts}}))
    assert findings == []
    np.testing.assert_array_equal(masks.to_array(annotation.objects[0].mask, 2, 3), [[0, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize("nothing", [None, [], [[]], {}, ""])
def test_no_segmentation_is_no_mask(read, nothing):
    [annotation], findings = read(document(CAT | {"segmentation": nothing}))
    assert (annotation.objects[0].mask, findings) == (None, [])


@pytest.mark.parametrize(
    ("segmentation", "edges"),
    [
        ([SQUARE, [7, 2, 9, 2, 9, 3]], (1, 1, 9, 5)),
        (SQUARE, (1, 1, 5, 5)),  # without a list around it
        ({"size": [2, 3], "counts": "312"}, (1, 1, 2, 2)),
    ],
)
@pytest.mark.parametrize("bbox", [None, []])
def test_an_object_without_box_has_that_of_its_segmentation(read, segmentation, edges, bbox):
    [annotation], findings = read(document(CAT | {"segmentation": segmentation, "bbox": bbox}))
    assert findings == []
    assert annotation.objects[0].edges == edges


@pytest.mark.parametrize(
    "segmentation",
    [
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, "6"]],
        [[1, 2, 3, 4, 5, None]],
        [SQUARE, [10**400] * 6],
        [SQUARE, 5],
        "polygon",
        {"size": [2, 3], "counts": "312"} | {"size": [9, 9]},
        {"size": [2, 3], "counts": "\u00e93"},
        {"size": [2, 3], "counts": [3, 1]},
        {"size": [2, 3], "counts": 6},
        {"size": [10**9, 10**9], "counts": [10**18]},
        {"size": "2x3", "counts": "312"},
        {"counts": "312"},
    ],
)
def test_a_segmentation_that_cannot_be_drawn_is_left_out_and_reported(read, segmentation):
    [annotation], findings = read(document(CAT | {"segmentation": segmentation}))
    assert findings == [(kinds.MASK_UNREADABLE, "annotations[0] (id 11)")]
    assert [(item.edges, item.mask) for item in annotation.objects] == [((4, 2, 20, 12), None)]


def test_keypoints_have_the_names_of_their_category(read):
    [annotation], findings = read(document(CAT | {"category_id": 3, "keypoints": [5, 6.5, 2, 0, 0, 0]}))
    assert findings == []
    assert annotation.objects[0].keypoints == (Keypoint("nose", 6.5, 5, 2), Keypoint("tail", 0, 0, 0))


def test_keypoints_without_names_are_numbered(read):
    [annotation], _ = read(document(CAT | {"keypoints": [5, 6, 1, 7, 8, 9]}))
    assert annotation.objects[0].keypoints == (Keypoint("0", 6, 5, 1), Keypoint("1", 8, 7, 2))


@pytest.mark.parametrize("keypoints", [[5, 6, 2], [5, 6], "many", [5, 6, None, 0, 0, 0], {"nose": 1}])
def test_keypoints_that_do_not_fit_are_left_out_and_reported(read, keypoints):
    [annotation], findings = read(document(CAT | {"category_id": 3, "keypoints": keypoints}))
    assert findings == [(kinds.MASK_UNREADABLE, "annotations[0] (id 11)")]
    assert annotation.objects[0].keypoints == ()


# What is wrong


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"bbox": None}, kinds.OBJECT_WITHOUT_BOX),
        ({"bbox": [1, 2, 3]}, kinds.OBJECT_WITHOUT_BOX),
        ({"bbox": [1, 2, 3, float("nan")]}, kinds.OBJECT_WITHOUT_BOX),
        ({"bbox": [1e308, 0, 1e308, 1]}, kinds.OBJECT_WITHOUT_BOX),
        ({"bbox": {"x": 1}}, kinds.OBJECT_WITHOUT_BOX),
        ({"bbox": None, "segmentation": {"size": [2, 3], "counts": "6"}}, kinds.OBJECT_WITHOUT_BOX),
        ({"category_id": 4}, kinds.OBJECT_WITHOUT_NAME),
        ({"category_id": None}, kinds.OBJECT_WITHOUT_NAME),
        ({"category_id": [0]}, kinds.OBJECT_WITHOUT_NAME),
        ({"category_id": 5}, kinds.OBJECT_WITHOUT_NAME),
        ({"category_id": 6}, kinds.OBJECT_WITHOUT_NAME),
    ],
)
def test_an_object_that_cannot_be_used_is_reported(read, change, kind):
    categories = [*CATEGORIES, {"id": 5}, {"id": 6, "name": "one"}, {"id": 6, "name": "other"}]
    [annotation], findings = read(document(CAT | change, CAT | {"id": 12}, categories=categories))
    assert findings == [(kind, "annotations[0] (id 11)")]
    assert len(annotation.objects) == 1
    assert not annotation.complete


def test_objects_of_no_image_are_reported_once_for_each_id(read):
    strays = [CAT | {"id": number, "image_id": 8 + number % 2} for number in range(5)]
    [annotation], findings = read(document(*strays, CAT, 5, {}))
    assert findings == [
        (kinds.IMAGE_MISSING, "annotations[0] (id 0)"),
        (kinds.IMAGE_MISSING, "annotations[1] (id 1)"),
        (kinds.IMAGE_MISSING, "annotations[6]"),
    ]
    assert len(annotation.objects) == 1


def test_a_image_that_is_listed_twice_counts_once(read):
    [annotation], findings = read(document(CAT, images=[IMAGE, IMAGE]))
    assert findings == [(kinds.ANNOTATION_TWICE, "images[1] (id 7)")]
    assert len(annotation.objects) == 1


def test_two_images_of_one_id_are_both_left_out(read):
    images = [IMAGE, IMAGE | {"file_name": "b.jpg"}, IMAGE | {"id": 8}]
    annotations, findings = read(document(CAT, images=images))
    assert findings == [
        (kinds.ANNOTATION_UNREADABLE, "images[0] (id 7)"),
        (kinds.ANNOTATION_UNREADABLE, "images[1] (id 7)"),
        (kinds.IMAGE_MISSING, "annotations[0] (id 11)"),
    ]
    assert [annotation.location for annotation in annotations] == ["images[2] (id 8)"]


@pytest.mark.parametrize("image", [5, None, [], {}, {"id": None}, {"id": True}, {"id": 1.5}])
def test_an_image_without_id_is_reported(read, image):
    annotations, findings = read(document(images=[image, IMAGE]))
    assert [kind for kind, _ in findings] == [kinds.ANNOTATION_UNREADABLE]
    assert [annotation.filename for annotation in annotations] == ["photos/a.jpg"]


def test_categories_without_ids_are_none(read):
    [annotation], findings = read(document(CAT, categories=[5, {}, {"id": [], "name": "cat"}]))
    assert (annotation.objects, findings) == ((), [(kinds.OBJECT_WITHOUT_NAME, "annotations[0] (id 11)")])


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ([CAT | {"score": 0.5}], kinds.FOREIGN),  # detections, as COCO's evaluation takes them
        ({"images": [], "categories": []}, kinds.FOREIGN),
        ({"images": {}, "annotations": []}, kinds.FOREIGN),
        ("{", kinds.ANNOTATION_UNREADABLE),
    ],
)
def test_other_json_is_foreign(read, tmp_path, content, kind):
    annotations, findings = read(content)
    assert (annotations, [found for found, _ in findings]) == ([], [kind])
    assert not FORMAT.recognises(tmp_path / "annotations.json")


def test_a_coco_file_is_recognised(read, tmp_path):
    read(document(CAT))
    assert FORMAT.recognises(tmp_path / "annotations.json")
    assert not FORMAT.recognises(tmp_path / "absent.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["id", "name", "size", "counts"]), inner)
    ),
    max_leaves=6,
)
KEYS = ("id", "image_id", "category_id", "bbox", "segmentation", "area", "iscrowd", "keypoints", "attributes")


@given(
    st.dictionaries(st.sampled_from(KEYS), JSON),
    st.dictionaries(st.sampled_from(["id", "file_name", "coco_url", "width", "height"]), JSON),
    st.dictionaries(st.sampled_from(["id", "name", "keypoints"]), JSON),
)
def test_no_value_of_any_key_is_a_surprise(tmp_path_factory, annotation, image, category):
    path = tmp_path_factory.getbasetemp() / "any.json"
    content = document(
        CAT | annotation, annotation, images=[IMAGE, image], categories=[*CATEGORIES, category]
    )
    path.write_text(json.dumps(content), encoding="utf-8")
    for one in read_file(FORMAT, path)[0]:
        assert isinstance(one.filename, str)
        assert all(item.class_name and len(item.edges) == 4 for item in one.objects)


def test_a_real_data_set(shared):
    [path] = (shared / "data" / "coco" / "coco_chess_test").rglob("*.coco.json")
    annotations, findings = read_file(FORMAT, path)
    content = json.loads(path.read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    assert findings == []
    assert len(annotations) == 29
    assert sum(len(annotation.objects) for annotation in annotations) == len(content["annotations"]) == 376
    assert all((path.parent / annotation.filename).is_file() for annotation in annotations)
    expected = sorted((names[item["category_id"]], *item["bbox"][:2]) for item in content["annotations"])
    assert sorted((o.class_name, *o.edges[:2]) for one in annotations for o in one.objects) == expected


# Writing

LABEL_MAP = LabelMap((Label(2, "cat"), Label(7, "/m/dog", "Hündin")))


def record(*objects, name="b/a.jpg", **more):
    return ImageRecord(name, ImageSource(Path(name)), "", 40, 20, objects, **more)


def written(folder, *records):
    write(records, [one.name for one in records], folder, LABEL_MAP)
    return json.loads((folder / "annotations.json").read_text(encoding="utf-8"))


def test_what_is_written_for_a_box(tmp_path):
    content = written(tmp_path, record(ObjectRecord("Hündin", Box(0.1, 0.25, 0.6, 0.5))))
    assert content == {
        "images": [{"id": 1, "file_name": "b/a.jpg", "width": 40, "height": 20}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 7,
                "bbox": [10.0, 2.0, 10.0, 10.0],
                "area": 100.0,
                "iscrowd": 0,
                "segmentation": [],
            }
        ],
        "categories": [
            {"id": 2, "name": "cat", "supercategory": ""},
            {"id": 7, "name": "/m/dog", "supercategory": ""},
        ],
    }


def test_no_record_at_all_is_a_file_too(tmp_path):
    assert written(tmp_path)["annotations"] == []


EVERYTHING = ObjectRecord(
    "cat",
    Box(0.25, 0.5, 0.75, 1.0),
    difficult=True,
    truncated=True,
    group_of=True,
    view="Left",
    weight=0.0,
    area=7.5,
    mask=Mask(polygons=((0.5, 0.25, 1.0, 0.25, 1.0, 0.75),)),
    keypoints=(Keypoint("eye", 0.5, 0.75, 1), Keypoint("ear", 0.5, 0.5, 2)),
)


def test_everything_comes_back(tmp_path):
    written(tmp_path, record(EVERYTHING))
    [annotation], findings = read_file(FORMAT, tmp_path / "annotations.json")
    assert findings == []
    assert (annotation.filename, annotation.size) == ("b/a.jpg", (40, 20))
    [item] = annotation.objects
    for key in ("class_name", "difficult", "truncated", "is_crowd", "group_of", "view", "weight", "area"):
        assert getattr(item, key) == getattr(EVERYTHING, key)
    assert item.edges == (20, 5, 40, 15)
    assert item.mask == Mask(polygons=((20, 5, 40, 5, 40, 15),))
    assert item.keypoints == (Keypoint("eye", 10, 30, 1), Keypoint("ear", 10, 20, 2))


def test_objects_of_a_class_share_its_keypoints(tmp_path):
    tail = ObjectRecord("cat", Box(0, 0, 1, 1), keypoints=(Keypoint("tail", 0.5, 0.5),))
    content = written(
        tmp_path, record(EVERYTHING), record(tail), record(ObjectRecord("cat", Box(0, 0, 1, 1)))
    )
    assert content["categories"][0]["keypoints"] == ["eye", "ear", "tail"]
    assert "keypoints" not in content["categories"][1]
    assert [item.get("keypoints") for item in content["annotations"]] == [
        [30, 10, 1, 20, 10, 2, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 20, 10, 2],
        None,
    ]
    assert [item.get("num_keypoints") for item in content["annotations"]] == [2, 1, None]


@pytest.mark.parametrize("is_crowd", [False, True])
def test_crowds_and_grids_are_run_lengths(tmp_path, is_crowd):
    right_half = Mask(polygons=((0.5, 0.0, 1.0, 0.0, 1.0, 1.0, 0.5, 1.0),))
    mask = right_half if is_crowd else masks.from_array(np.array([[0, 1]]))
    content = written(tmp_path, record(ObjectRecord("cat", Box(0, 0.5, 1, 1), is_crowd=is_crowd, mask=mask)))
    assert content["annotations"][0]["segmentation"] == {"size": [20, 40], "counts": [400, 400]}


def test_masks_are_turned_with_the_image(tmp_path):
    # Stored 40 x 20 with its left half covered; turned clockwise it is 20 x 40 and the upper half is.
    turned = Mask(counts=masks.from_array(np.array([[1, 0]])).counts, size=(1, 2), orientation=6)
    item = ObjectRecord("cat", Box(0, 0, 0.5, 1), mask=turned)
    image = ImageRecord("a", ImageSource(Path("a")), "", 20, 40, (item,), orientation=6)
    assert written(tmp_path, image)["annotations"][0]["segmentation"]["counts"] == [0, *[20] * 40]


SIDES = st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32)).map(sorted)


@given(SIDES, SIDES, st.integers(1, 10_000), st.integers(1, 10_000))
def test_boxes_come_back_as_float32(tmp_path_factory, ys, xs, height, width):
    folder = tmp_path_factory.getbasetemp()
    item = ObjectRecord("cat", Box(ys[0], xs[0], ys[1], xs[1]))
    image = ImageRecord("a", ImageSource(Path("a")), "", width, height, (item,))
    written(folder, image)
    [annotation], _ = read_file(FORMAT, folder / "annotations.json")
    xmin, ymin, xmax, ymax = annotation.objects[0].edges
    again = np.float32([ymin / height, xmin / width, ymax / height, xmax / width])
    np.testing.assert_array_equal(again, np.float32([ys[0], xs[0], ys[1], xs[1]]))


def test_other_programs_read_it(tmp_path, capsys):
    plain = ObjectRecord("Hündin", Box(0, 0, 1, 1), mask=masks.from_array(np.array([[0, 1]])))
    written(tmp_path, record(EVERYTHING, plain), record(name="c.jpg"))
    read = COCO(str(tmp_path / "annotations.json"))
    assert [category["name"] for category in read.loadCats(read.getCatIds())] == ["cat", "/m/dog"]
    assert read.getImgIds() == [1, 2]
    triangle, half = (read.annToMask(item) for item in read.loadAnns(read.getAnnIds(imgIds=[1])))
    np.testing.assert_array_equal(triangle, masks.to_array(EVERYTHING.mask, 20, 40))
    assert half.sum() == 400


def test_equal_records_give_equal_bytes(tmp_path):
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        written(tmp_path / name, record(EVERYTHING), record())
        contents.append((tmp_path / name / "annotations.json").read_bytes())
    assert contents[0] == contents[1]


def test_hostile_names_survive(tmp_path):
    name = 'caf\udce9/"\\\n.jpg'
    assert written(tmp_path, record(name=name))["images"][0]["file_name"] == name


def test_a_mask_that_cannot_be_drawn_is_an_error_and_leaves_no_file(tmp_path):
    broken = ObjectRecord("cat", Box(0, 0, 1, 1), mask=Mask(counts=b"1", size=(9, 9)))
    with pytest.raises(DataError, match=r"b/a\.jpg: its run lengths"):
        written(tmp_path, record(broken))
    assert list(tmp_path.iterdir()) == []


def test_the_images_are_in_a_folder_of_their_own():
    assert coco.IMAGES_FOLDER == "images"


@pytest.mark.parametrize(
    ("name", "item"),
    [
        ("captions.json", {"id": 1, "image_id": 1, "caption": "a cat"}),
        ("panoptic.json", {"image_id": 1, "file_name": "a.png", "segments_info": [{"bbox": [1, 1, 2, 2]}]}),
    ],
)
def test_a_file_without_boxes_is_about_no_image(tmp_path, name, item):
    document = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [item]}
    annotations, findings = read_json(FORMAT, tmp_path, document, name)
    assert (annotations, [finding.kind for finding in findings]) == ([], [kinds.FOREIGN])


def test_outlines_of_background_beside_those_of_objects_are_not_read(tmp_path):
    grass = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 4]}
    document = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [grass],
        "categories": [{"id": 1, "name": "grass"}],
    }
    [annotation], findings = read_json(FORMAT, tmp_path, document, "stuff_val.json")
    assert (len(annotation.objects), findings) == (1, [])
    annotations, findings = read_json(FORMAT, tmp_path, document, "instances_val.json")
    assert [one.path.name for one in annotations] == ["instances_val.json"]
    assert [(finding.kind, finding.file) for finding in findings] == [(kinds.FOREIGN, "stuff_val.json")]


@pytest.mark.parametrize("categories", [None, [], "cat"])
def test_a_file_without_categories_says_so_once(tmp_path, categories):
    content = document(CAT, CAT | {"id": 12}, categories=categories)
    (tmp_path / "a.json").write_text(json.dumps(content))
    annotations, [finding] = read_file(FORMAT, tmp_path / "a.json")
    assert annotations == []
    assert finding.message.startswith(
        'it has no "categories", which name the classes; add "categories": [{"id"'
    )
