"""A model of whoever exported it, by the API's names of what it takes and returns."""

import numpy as np
import pytest
import tensorflow as tf

from boxtune.data.input import Records
from boxtune.data.label_map import LabelMap
from boxtune.errors import CheckpointError
from boxtune.evaluation.exported import beside_model, load_exported
from boxtune.evaluation.extras import Needs
from boxtune.evaluation.of_records import detect_exported
from boxtune.metrics import masks
from image_records import record_of_image, write_records
from image_results import pixels

FOUND = {
    "detection_boxes": [[[0, 0, 0.5, 0.5], [0.1, 0.2, 0.3, 0.4], [9, 9, 9, 9]]],
    "detection_classes": [[2.0, 1.0, 1.0]],
    "detection_scores": [[0.3, 0.8, 0.0]],
    "num_detections": [2.0],
}


@pytest.fixture
def records(tmp_path):
    """Two images of 20 x 10 without objects, the first red 10, the second red 20."""
    images = [record_of_image(f"{value}.jpg", value=value) for value in (10, 20)]
    path = write_records(tmp_path / "two.record", images)
    return Records([path], LabelMap.from_names(["cat", "dog"]), 2)


def finding(**changes):
    """Return a model that finds the same in every image."""
    return lambda image: {name: tf.constant(value) for name, value in (FOUND | changes).items()}


class TestDetecting:
    def test_as_many_as_it_says_best_first_in_pixels_from_class_0_on(self, records):
        first, second = detect_exported(finding(), records)
        assert (first.name, second.name) == ("10.jpg", "20.jpg")
        assert first.classes.tolist() == [0, 1]
        np.testing.assert_allclose(first.scores, [0.8, 0.3])
        np.testing.assert_allclose(first.boxes, [[1, 4, 3, 8], [0, 0, 5, 10]], rtol=1e-6)

    def test_it_is_given_each_image_as_it_is(self, records):
        given = []

        def detect(image):
            given.append(image)
            return finding()(image)

        detect_exported(detect, records)
        assert [image.shape for image in given] == [(1, 10, 20, 3)] * 2
        assert [image.dtype for image in given] == [np.uint8] * 2
        assert [image[0, 0, 0, 0] for image in given] == [10, 20]

    def test_every_image_is_shown_with_what_was_found(self, records):
        seen = []
        results = detect_exported(finding(), records, seen.append)
        assert [one.result for one in seen] == results
        assert [int(one.image[0, 0, 0]) for one in seen] == [10, 20]

    def test_a_part_that_is_missing_is_named(self, records):
        with pytest.raises(CheckpointError, match="returns no detection_scores, num_detections: "):
            detect_exported(lambda _: dict.fromkeys(["detection_boxes", "detection_classes"]), records)

    @pytest.mark.parametrize(
        ("part", "value", "said"),
        [
            (
                "detection_boxes",
                [[[0, 0, 1, 1]]],
                r"detection_boxes of the shape \(1, 1, 4\), not \(1, 3, 4\)",
            ),
            ("detection_classes", [1.0, 2.0, 3.0], r"detection_classes of the shape \(3,\), not \(1, 3\)"),
            ("num_detections", [4.0], "num_detections 4.0 of 3"),
        ],
    )
    def test_parts_that_do_not_fit_together(self, records, part, value, said):
        with pytest.raises(CheckpointError, match=said):
            detect_exported(finding(**{part: value}), records)

    def test_a_model_that_fails_names_the_image(self, records, tmp_path):
        model = load_exported(save(tmp_path / "model", function=lambda image: tf.reshape(image, [7])))
        with pytest.raises(CheckpointError, match=r"10\.jpg: the model fails: "):
            detect_exported(model, records)

    @pytest.mark.parametrize(
        ("part", "value"),
        [
            ("detection_scores", [[np.nan, 0.8, 0.0]]),
            ("detection_boxes", [[[0, 0, np.inf, 1]] * 3]),
            # Of a broken model nothing may be found at all, and it still is one.
            ("raw_detection_scores", [[[0.5, np.nan]]]),
        ],
    )
    def test_numbers_that_are_none_name_the_image_and_the_way_out(self, records, part, value):
        with pytest.raises(CheckpointError, match=rf"10\.jpg: {part} .* Export an earlier checkpoint"):
            detect_exported(finding(**{part: value}), records)


class TestMasksAndKeypoints:
    def test_masks_are_pasted_into_their_boxes_as_the_api_does(self, records):
        grids = np.random.default_rng(0).random((1, 3, 4, 6), np.float32)
        first, _ = detect_exported(finding(detection_masks=grids), records, needs=Needs(masks=True))
        for mask, found in zip(first.masks, (1, 0), strict=True):  # best first
            ymin, xmin, ymax, xmax = FOUND["detection_boxes"][0][found]
            height, width = ymax - ymin, xmax - xmin
            image = [-ymin / height, -xmin / width, (1 - ymin) / height, (1 - xmin) / width]
            grid = grids[:, found, :, :, None]
            pasted = tf.image.crop_and_resize(grid, [image], [0], [10, 20], extrapolation_value=0)
            np.testing.assert_array_equal(pixels(mask), pasted[0, :, :, 0].numpy() > 0.5)
            assert 0 < masks.area(mask) < 200

    def test_keypoints_are_in_pixels_best_first(self, records):
        points = [[[[0, 0.5]], [[1, 0.25]], [[9, 9]]]]
        expected = Needs(keypoints={"nose": 0})
        first, _ = detect_exported(finding(detection_keypoints=points), records, needs=expected)
        assert first.keypoints.tolist() == [[[10, 5]], [[0, 10]]]

    def test_nobody_looks_at_what_nobody_wants(self, records):
        first, _ = detect_exported(finding(detection_masks=[np.nan], detection_keypoints=[np.nan]), records)
        assert first.masks is None
        assert first.keypoints is None

    @pytest.mark.parametrize(
        ("parts", "expected", "said"),
        [
            ({}, Needs(masks=True), "returns no detection_masks: leave out the metrics"),
            ({}, Needs(keypoints={"nose": 0}), "returns no detection_keypoints: leave out the metrics"),
            (
                {"detection_masks": np.ones((1, 2, 4, 4))},
                Needs(masks=True),
                r"\(1, 2, 4, 4\), not \(1, 3, 4, 4\)",
            ),
            ({"detection_masks": np.ones((1, 3, 9))}, Needs(masks=True), r"\(1, 3, 9\), not"),
            (
                {"detection_masks": np.ones((1, 3, 0, 4))},
                Needs(masks=True),
                r"\(1, 3, 0, 4\), not \(1, 3, 1, 4\)",
            ),
            (
                {"detection_masks": np.full((1, 3, 4, 4), np.nan)},
                Needs(masks=True),
                "detection_masks of the model",
            ),
            (
                {"detection_keypoints": np.ones((1, 3, 2, 2))},
                Needs(keypoints={"nose": 0}),
                r"\(1, 3, 2, 2\), not \(1, 3, 1, 2\)",
            ),
        ],
    )
    def test_that_are_not_there_or_do_not_fit(self, records, parts, expected, said):
        with pytest.raises(CheckpointError, match=said):
            detect_exported(finding(**parts), records, needs=expected)


def save(folder, shape=(1, None, None, 3), dtype=tf.uint8, function=tf.identity):
    """Write a model that returns what a function makes of its input, or that itself."""
    model = tf.Module()
    spec = tf.TensorSpec(shape, dtype, "input_tensor")
    model.serve = tf.function(lambda input_tensor: {"out": function(input_tensor)}, input_signature=[spec])
    tf.saved_model.save(model, str(folder), {"serving_default": model.serve})
    return folder


class TestLoading:
    def test_of_the_folder_of_an_export_or_the_model_in_it(self, tmp_path):
        save(tmp_path / "saved_model")
        for path in (tmp_path, tmp_path / "saved_model"):
            image = tf.ones([1, 2, 3, 3], tf.uint8)
            np.testing.assert_array_equal(load_exported(path)(image)["out"], image)

    @pytest.mark.parametrize(
        ("spec", "said"),
        [
            (([1, None, None, 3], tf.float32), "takes float32; export it with --input_type image_tensor"),
            (([1, 320, 320, 3], tf.uint8), r"takes images of \(1, 320, 320, 3\) only"),
            (([8, None, None, 3], tf.uint8), r"takes images of \(8, None, None, 3\) only"),
        ],
    )
    def test_what_takes_something_else(self, tmp_path, spec, said):
        with pytest.raises(CheckpointError, match=said):
            load_exported(save(tmp_path, *spec))

    @pytest.mark.parametrize(("first", "largest"), [(1, 1), (None, None)])
    def test_how_many_images_it_takes(self, tmp_path, first, largest):
        assert load_exported(save(tmp_path, (first, None, None, 3))).largest_batch == largest

    def test_what_has_no_signature(self, tmp_path):
        tf.saved_model.save(tf.Module(), str(tmp_path))
        with pytest.raises(CheckpointError, match="has no signature serving_default"):
            load_exported(tmp_path)

    def test_what_is_none(self, tmp_path):
        with pytest.raises(CheckpointError, match="no exported model here"):
            load_exported(tmp_path)
        (tmp_path / "saved_model.pb").write_bytes(b"junk")
        with pytest.raises(CheckpointError, match="cannot be loaded"):
            load_exported(tmp_path)


def test_files_beside_a_model_are_those_of_its_own_export(tmp_path):
    (tmp_path / "label_map.pbtxt").touch()
    exported = tmp_path / "exported"
    (exported / "saved_model").mkdir(parents=True)
    (exported / "saved_model" / "saved_model.pb").touch()
    # That of the folder around it may be another model's.
    assert beside_model(exported, "label_map.pbtxt") is None
    (exported / "label_map.pbtxt").touch()
    for path in (exported, exported / "saved_model"):
        assert beside_model(path, "label_map.pbtxt") == exported / "label_map.pbtxt"
