import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_masks

from boxtune.errors import DataError
from boxtune.metrics import coco_results
from boxtune.metrics.coco_results import ids_of_names, read_detections
from boxtune.metrics.results import ImageResult
from image_results import pixels


def image(name, boxes=(), classes=(), scores=(), **parts):
    return ImageResult(
        name=name,
        height=4,
        width=6,
        groundtruth_boxes=np.zeros((0, 4)),
        groundtruth_classes=np.zeros(0, int),
        is_crowd=np.zeros(0, bool),
        boxes=np.array(boxes, float).reshape(-1, 4),
        classes=np.array(classes, int),
        scores=np.array(scores, float),
        **parts,
    )


TRUTH = [image("a/7.jpg"), image("b.png")]
GOOD = {"image_id": "b.png", "category_id": 3, "bbox": [1, 2, 3, 1.5], "score": 0.5}


def read(tmp_path: Path, content, **arguments):
    path = tmp_path / "found.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read_detections(path, TRUTH, **({"categories": {3: 0, 9: 1}} | arguments))


def test_detections_go_to_their_images(tmp_path: Path):
    first, second = read(tmp_path, [GOOD, GOOD | {"image_id": 7, "category_id": 9}, GOOD | {"score": 1}])
    assert (first.name, first.classes.tolist()) == ("a/7.jpg", [1])
    assert second.boxes.tolist() == [[2, 1, 3.5, 4]] * 2
    assert (second.classes.tolist(), second.scores.tolist()) == ([0, 0], [0.5, 1])
    assert second.masks is None
    assert second.keypoints is None


def test_no_detections(tmp_path: Path):
    assert [len(one.scores) for one in read(tmp_path, " [ ] ")] == [0, 0]


def test_images_are_known_by_what_only_one_of_them_is_called():
    known = ids_of_names(["x/0012.jpg", "y/0012.jpg", "y/b.png", "b.jpg"])
    # 0012.jpg, 0012 and 12 are two images; b is two as well.
    assert known == {name: name for name in ("x/0012.jpg", "y/0012.jpg", "y/b.png", "b.jpg")} | {
        "b.png": "y/b.png"
    }
    assert ids_of_names(["000139.jpg"])[139] == "000139.jpg"


def test_ids_of_a_data_set(tmp_path: Path):
    _, second = read(tmp_path, [GOOD | {"image_id": 501}], image_ids={501: "b.png"})
    assert len(second.scores) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"image_id": "c.png"},
            "1 detection of images that are not evaluated .*number 1: image_id 'c.png'",
        ),
        ({"image_id": None}, "image_id None"),
        ({"image_id": ["b.png"]}, "image_id"),
        ({"category_id": 4}, "of classes that the label map lacks .*number 1: category_id 4"),
        ({"category_id": True}, "category_id True"),
        ({"score": float("nan")}, "cannot be used, such as number 1: score nan"),
        ({"score": "1"}, "score '1'"),
        ({"score": None}, "score None"),
        ({"bbox": [0, 0, -1, 2]}, "negative or too large"),
        ({"bbox": [1e308, 0, 1e308, 2]}, "negative or too large"),
        ({"bbox": [0, 0, 10**400, 2]}, "bbox"),
        ({"bbox": [0, 0, 1]}, r"bbox \[0, 0, 1\]"),
        ({"bbox": None}, "bbox None"),
        ({"segmentation": [[0, 0, 1, 1, 2, 2]]}, "run lengths"),
        ({"segmentation": {"size": [4, 7], "counts": [28]}}, "4 x 7 in an image of 4 x 6"),
        ({"keypoints": [1, 2]}, "keypoints"),
    ],
)
def test_what_cannot_be_used(tmp_path: Path, change, message):
    with pytest.raises(DataError, match=rf"found\.json: .*{message}"):
        read(tmp_path, [GOOD, GOOD | change])


def test_faults_are_counted(tmp_path: Path):
    bad = [GOOD | {"image_id": number} for number in range(100, 110)]
    with pytest.raises(
        DataError, match=r"10 detections .* number 0: .*100, number 1: .*101, number 2: .*102; 1 "
    ):
        read(tmp_path, [*bad, GOOD | {"score": None}])


def test_an_id_is_of_one_detection(tmp_path: Path):
    read(tmp_path, [GOOD | {"id": 1}, GOOD | {"id": 2}])
    with pytest.raises(DataError, match="number 1: id 1"):
        read(tmp_path, [GOOD | {"id": 1}, GOOD | {"id": 1}])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[",
        "[1]",
        "[,]",
        "[{}",
        "[{},]",
        '[{"a": ]',
        "[] []",
        "null",
        '{"annotations": []}',
        "[" * 100_000,
        '[{"a":' * 100_000,
        "[" + "9" * 10_000 + "]",
        '[{"image_id": "\\ud800"}]',
    ],
)
def test_other_files(tmp_path: Path, text):
    with pytest.raises(DataError, match=r"found\.json"):
        read(tmp_path, text)


def test_bytes_that_are_no_text(tmp_path: Path):
    path = tmp_path / "found.json"
    path.write_bytes(b"[\xff\xfe]")
    with pytest.raises(DataError, match=r"found\.json"):
        read_detections(path, TRUTH, categories={})
    with pytest.raises(DataError, match="cannot be read"):
        read_detections(tmp_path / "absent.json", TRUTH, categories={})


@pytest.mark.parametrize("chunk", [1, 7, 40])
def test_a_file_is_read_in_pieces(tmp_path: Path, monkeypatch, chunk):
    monkeypatch.setattr(coco_results, "_CHUNK", chunk)
    _, second = read(tmp_path, json.dumps([GOOD] * 9, indent=1))
    assert second.boxes.tolist() == [[2, 1, 3.5, 4]] * 9


def test_a_detection_without_end(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(coco_results, "_CHUNK", 100)
    monkeypatch.setattr(coco_results, "_MAX_DETECTION", 1000)
    with pytest.raises(DataError, match="number 0 is not JSON"):
        read(tmp_path, '[{"a": "' + "x" * 100_000)


def test_masks_of_all_or_none(tmp_path: Path):
    mask = {"size": [4, 6], "counts": [5, 2, 17]}
    drawn = GOOD | {"segmentation": mask}
    (_, second) = read(tmp_path, [{name: part for name, part in drawn.items() if name != "bbox"}])
    # Pixels 5 and 6 of columns of 4: rows 1 and 2 of the second column.
    assert second.boxes.tolist() == [[1, 1, 3, 2]]
    with pytest.raises(DataError, match="1 of 2 detections have no segmentation"):
        read(tmp_path, [drawn, GOOD])
    with pytest.raises(DataError, match=r"different numbers of keypoints: \[0, 1\]"):
        read(tmp_path, [GOOD | {"keypoints": [1, 2, 2]}, GOOD])


def test_masks_and_keypoints_are_those_of_the_file(tmp_path: Path):
    drawing = np.arange(24).reshape(4, 6) % 3 > 0
    mask = coco_masks.encode(np.asfortranarray(drawing.astype(np.uint8)))
    shapes = {"segmentation": mask | {"counts": mask["counts"].decode()}, "keypoints": [1, 2, 2, 3, 0.5, 1]}
    _, found = read(tmp_path, [GOOD | shapes])
    np.testing.assert_array_equal(pixels(found.masks[0]), drawing)
    assert found.keypoints.tolist() == [[[2, 1], [0.5, 3]]]


FOUND = {"name": "cat", "score": 0.5, "ymin": 2, "xmin": 1, "ymax": 3.5, "xmax": 4}


class TestWhatPredictWrites:
    def test_goes_to_the_images_that_paths_end_with(self, tmp_path: Path):
        content = [
            {"image": "/photos/a/7.jpg", "width": 6, "height": 4, "detections": [FOUND]},
            {"image": "C:\\photos\\b.png", "detections": [], "error": "it cannot be decoded"},
        ]
        first, second = read(tmp_path, content, categories={"cat": 1})
        assert first.boxes.tolist() == [[2, 1, 3.5, 4]]
        assert (first.classes.tolist(), first.scores.tolist()) == ([1], [0.5])
        assert len(second.boxes) == 0

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"name": "dog"}, "1 detection of classes .*, such as number 0: name 'dog'"),
            ({"xmin": None}, "1 detection that cannot be used, such as number 0: bbox"),
            ({"xmin": "1"}, "1 detection that cannot be used, such as number 0: bbox"),
            ({"xmax": 0}, "whose width or height is negative"),
            ({"score": None}, "number 0: score None"),
        ],
    )
    def test_that_cannot_be_used(self, tmp_path: Path, change, message):
        content = [{"image": "b.png", "detections": [FOUND | change]}]
        with pytest.raises(DataError, match=message):
            read(tmp_path, content, categories={"cat": 1})

    @pytest.mark.parametrize("image", ["c.png", "b.png/c", None, 8])
    def test_of_other_images_is_refused(self, tmp_path: Path, image):
        with pytest.raises(DataError, match="1 detection of images that are not evaluated"):
            read(tmp_path, [{"image": image, "detections": [FOUND]}], categories={"cat": 1})
