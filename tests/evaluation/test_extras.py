"""Masks and keypoints of records, against images of 4 x 3 drawn by hand."""

import io
import itertools

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from PIL import Image

from boxtune.config import pipeline_pb2
from boxtune.data.input import Records
from boxtune.data.label_map import Label, LabelMap
from boxtune.errors import ConfigError, DataError
from boxtune.evaluation import extras
from boxtune.evaluation.extras import Needs, check_detector_finds, keypoint_classes, needs_of
from boxtune.evaluation.groundtruth import read_groundtruth
from boxtune.metrics import masks
from boxtune.metrics.coco import KeypointClass
from image_records import record_of_image, write_records
from image_results import pixels

WHOLE = (0, 0, 1, 1)
CLASSES = LabelMap((Label(1, "cat"), Label(2, "dog")))
POSED = LabelMap((Label(1, "cat", "", ((0, "nose"), (2, "tail"))), Label(2, "dog")))
KEYPOINTS = "parameterized_metric { coco_keypoint_metrics { class_label: 'cat' } }"
MASK = np.array([[0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]], np.uint8)
NUMBERS = itertools.count()


def png(array):
    stream = io.BytesIO()
    Image.fromarray(np.asarray(array, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def record(objects=2, **parts):
    """Return a record with so many cats and other parts of `image/object`, with `__` in the place of `/`."""
    example = tf.train.Example.FromString(
        record_of_image(f"{next(NUMBERS)}.png", objects=[(WHOLE, 1)] * objects, size=(4, 3))
    )
    for key, values in parts.items():
        feature = example.features.feature[f"image/object/{key.replace('__', '/')}"]
        kind = {bytes: feature.bytes_list, float: feature.float_list, int: feature.int64_list}[
            type(values[0])
        ]
        kind.value.extend(values)
    return example.SerializeToString()


def keypoints(xs, ys, names=(), visibility=()):
    parts = {"x": xs, "y": ys, "text": [name.encode() for name in names], "visibility": visibility}
    return {f"keypoint__{key}": list(values) for key, values in parts.items() if len(values)}


@pytest.fixture
def opened(tmp_path):
    def open_records(*serialized, label_map=CLASSES):
        return Records([write_records(tmp_path / "a.record", serialized)], label_map, 2)

    return open_records


def read(records, expected):
    return [groundtruth for groundtruth, _ in read_groundtruth(records, needs=expected)]


def section(text):
    return text_format.Parse(text, pipeline_pb2.EvalConfig())


class TestMasks:
    def test_one_for_each_object(self, opened):
        (groundtruth,) = read(opened(record(mask=[png(MASK), png(255 * (1 - MASK))])), Needs(masks=True))
        first, second = map(pixels, groundtruth.groundtruth_masks)
        np.testing.assert_array_equal(first, MASK > 0)
        np.testing.assert_array_equal(second, MASK == 0)

    def test_of_weight_0_there_is_none(self, opened):
        mask, weight = [png(MASK)] * 2, [1.0, 0.0]
        (groundtruth,) = read(opened(record(mask=mask, mask__weight=weight)), Needs(masks=True))
        assert [masks.area(mask) for mask in groundtruth.groundtruth_masks] == [3, 0]

    def test_as_numbers(self, opened):
        numbers = [float(value) for value in [*MASK.flat, *(1 - MASK).flat]]
        (groundtruth,) = read(opened(record(mask=numbers)), Needs(masks=True))
        np.testing.assert_array_equal(pixels(groundtruth.groundtruth_masks[0]), MASK > 0)
        assert masks.area(groundtruth.groundtruth_masks[1]) == 9

    def test_a_record_without_any(self, opened):
        drawn, without = read(opened(record(1, mask=[png(MASK)]), record(2)), Needs(masks=True))
        assert [masks.area(mask) for mask in (*drawn.groundtruth_masks, *without.groundtruth_masks)] == [
            3,
            0,
            0,
        ]

    def test_are_not_read_where_nobody_wants_them(self, opened):
        (groundtruth,) = read(opened(record(mask=[b"no PNG"] * 7)), Needs())
        assert groundtruth.groundtruth_masks is None

    @pytest.mark.parametrize(
        ("parts", "said"),
        [
            ({"mask": [png(MASK)]}, "image/object/mask has 1 value, not 2"),
            ({"mask": [png(MASK), png(MASK.T)]}, "its mask is 4 x 3 pixels"),
            ({"mask": [png(MASK), b"GIF89a"]}, "its mask is not a PNG that can be decoded"),
            ({"mask": [1.0] * 23}, "image/object/mask has 23 numbers for 2 boxes and 3 x 4 pixels"),
            ({"mask": [png(MASK)] * 2, "mask__weight": [1.0]}, "mask/weight has 1 value, not 2"),
        ],
    )
    def test_that_do_not_fit_name_the_record(self, opened, parts, said):
        records = opened(record(mask=[png(MASK)] * 2), record(**parts))
        with pytest.raises(DataError, match=rf"a\.record: record 1 .*{said}"):
            read(records, Needs(masks=True))

    def test_a_large_png_is_refused_before_it_is_decoded(self, opened):
        # The header says 60000 x 60000; nothing is behind it.
        data = png(MASK)
        large = data[:16] + (60_000).to_bytes(4, "big") * 2 + data[24:]
        with pytest.raises(DataError, match="record 0"):
            read(opened(record(1, mask=[large])), Needs(masks=True))

    def test_noise_is_not_kept_without_end(self, opened, monkeypatch):
        # The mask has two runs: down column 1, and one pixel of column 2.
        monkeypatch.setattr(extras, "MAX_EDGES", 11)
        records = opened(*[record(1, mask=[png(MASK)])] * 3)
        with pytest.raises(DataError, match=r"record 2 .*are not outlines"):
            read(records, Needs(masks=True))


class TestKeypoints:
    def test_are_placed_by_their_names_in_pixels(self, opened):
        parts = keypoints([0.5, 0.25, 1.0, 0.0], [1.0, 0.0, 0.5, 0.0], ["tail", "nose"] * 2, [2, 1, 7, 0])
        (groundtruth,) = read(opened(record(**parts)), Needs(keypoints={"nose": 0, "tail": 2}))
        # 4 x 3 pixels: the tail of the first is at x 2, y 3. Nothing is at place 1.
        np.testing.assert_allclose(
            groundtruth.groundtruth_keypoints, [[[0, 1], [0, 0], [3, 2]], [[0, 0], [0, 0], [1.5, 4]]]
        )
        assert groundtruth.groundtruth_visibility.tolist() == [[1, 0, 2], [0, 0, 2]]

    def test_without_names_by_their_order_and_without_visibility_visible(self, opened):
        parts = keypoints([0.5, 0.25], [1.0, float("nan")])
        (groundtruth,) = read(opened(record(1, **parts)), Needs(keypoints={"nose": 0, "ear": 1, "tail": 2}))
        assert groundtruth.groundtruth_visibility.tolist() == [
            [2, 0, 0]
        ]  # the second is no number, there is no third
        assert groundtruth.groundtruth_keypoints[0, 0].tolist() == [3, 2]

    def test_a_record_without_any(self, opened):
        (groundtruth,) = read(opened(record(2)), Needs(keypoints={"nose": 0, "tail": 1}))
        assert groundtruth.groundtruth_visibility.tolist() == [[0, 0], [0, 0]]

    @pytest.mark.parametrize(
        ("parts", "said"),
        [
            (keypoints([0.5] * 3, [0.5] * 3), "3 values of x and 3 of y for 2 boxes"),
            (keypoints([0.5] * 4, [0.5] * 2), "4 values of x and 2 of y for 2 boxes"),
            (keypoints([0.5] * 4, [0.5] * 4, ["nose"]), "keypoint/text has 1 value, not 4"),
            (keypoints([0.5] * 4, [0.5] * 4, (), [1] * 3), "keypoint/visibility has 3 values, not 4"),
            (keypoints([0.5] * 4, [0.5] * 4), "have 2 keypoints, not 1, and no names"),
            (
                keypoints([0.5] * 2, [0.5] * 2, ["Nose"] * 2),
                "its keypoints are Nose, Nose, the label map's nose",
            ),
            (keypoints([0.5] * 2002, [0.5] * 2002), "1001 keypoints each, over the limit of 1000"),
        ],
    )
    def test_that_do_not_fit_name_the_record(self, opened, parts, said):
        records = opened(record(2), record(2, **parts))
        with pytest.raises(DataError, match=rf"a\.record: record 1 .*{said}"):
            read(records, Needs(keypoints={"nose": 0}))


class TestWhatIsWanted:
    def test_nothing_for_metrics_of_boxes(self, opened):
        records = opened(record(2, mask=[b"?"], **keypoints([0.5], [0.5])), label_map=POSED)
        assert needs_of(section("metrics_set: 'coco_detection_metrics'"), records) == Needs()

    def test_masks(self, opened):
        assert needs_of(section("metrics_set: 'lvis_mask_metrics'"), opened(record())) == Needs(
            masks=True, labels=True
        )

    def test_keypoints_by_the_label_map(self, opened):
        expected = needs_of(section(KEYPOINTS), opened(record(), label_map=POSED))
        assert (expected.keypoints, expected.num_points) == ({"nose": 0, "tail": 2}, 3)

    def test_ids_may_count_from_1(self, opened):
        from_1 = LabelMap(
            (Label(1, "cat", "", ((1, "nose"), (2, "tail"))), Label(2, "dog", "", ((1, "nose"),)))
        )
        assert needs_of(section(KEYPOINTS), opened(record(), label_map=from_1)).keypoints == {
            "nose": 0,
            "tail": 1,
        }

    @pytest.mark.parametrize(
        ("points", "said"),
        [
            (((0, "nose"), (0, "tail")), '"nose" and "tail" of "cat" have the id 0'),
            (((0, "nose"), (1, "nose")), '"nose" has several ids'),
            (((0, "nose"), (2**31 - 1, "tail")), '"tail" of "cat" has the id 2147483647, not 0 to 999'),
            (((-1, "nose"),), "the id -1"),
        ],
    )
    def test_a_label_map_that_cannot_be(self, opened, points, said):
        records = opened(record(), label_map=LabelMap((Label(1, "cat", "", points),)))
        with pytest.raises(DataError, match=said):
            needs_of(section(KEYPOINTS), records)

    def test_keypoints_by_the_records(self, opened):
        listed = record(2, **keypoints([0.5] * 4, [0.5] * 4, ["tail", "nose"] * 2))
        assert needs_of(section(KEYPOINTS), opened(record(1), listed)).keypoints == {"tail": 0, "nose": 1}
        unnamed = record(1, **keypoints([0.5] * 2, [0.5] * 2))
        assert needs_of(section(KEYPOINTS), opened(unnamed)).keypoints == {"0": 0, "1": 1}

    def test_records_that_disagree(self, opened):
        one, other = (
            record(1, **keypoints([0.5] * 2, [0.5] * 2, names)) for names in (["a", "b"], ["b", "a"])
        )
        with pytest.raises(
            DataError, match=r"record 1 .*its keypoints are b, a, those of other records a, b"
        ):
            needs_of(section(KEYPOINTS), opened(one, other))

    @pytest.mark.parametrize(
        "text", [KEYPOINTS, "metrics_set: 'coco_mask_metrics'", "metrics_set: 'coco_keypoint_metrics'"]
    )
    def test_a_detector_of_boxes_finds_none_of_it(self, text):
        with pytest.raises(ConfigError, match="this model finds boxes"):
            check_detector_finds(section(text), finds=())
        check_detector_finds(section("metrics_set: 'coco_detection_metrics'"), finds=())

    @pytest.mark.parametrize(
        ("text", "finds", "other"),
        [
            (KEYPOINTS, "keypoints", "masks"),
            ("metrics_set: 'coco_keypoint_metrics'", "keypoints", "masks"),
            ("metrics_set: 'coco_mask_metrics'", "masks", "keypoints"),
        ],
    )
    def test_a_detector_is_measured_by_what_it_finds(self, text, finds, other):
        check_detector_finds(section(text), finds=(finds,))
        with pytest.raises(ConfigError, match=rf"this model finds boxes and {other}\. Leave it out"):
            check_detector_finds(section(text), finds=(other,))


def sigmas(**values):
    entries = (f"keypoint_label_to_sigmas {{ key: '{key}' value: {value} }}" for key, value in values.items())
    return section(
        f"parameterized_metric {{ coco_keypoint_metrics {{ class_label: 'cat' {' '.join(entries)} }} }}"
    )


class TestParameterizedMetric:
    def test_all_keypoints_of_the_class_by_their_ids(self):
        # What the class has not is left aside, as in the API.
        (found,) = keypoint_classes(sigmas(tail=0.25, ear=1, nose=0.5), POSED, {"nose": 0, "tail": 2})
        assert found == KeypointClass(0, [0.5, 0.25], [0, 2])

    def test_without_keypoints_in_the_label_map_those_that_are_named(self):
        (found,) = keypoint_classes(sigmas(tail=0.25), CLASSES, {"nose": 0, "tail": 1})
        assert found == KeypointClass(0, [0.25], [1])

    def test_without_deviations_all_have_that_of_the_api(self):
        for label_map in (CLASSES, POSED):
            (found,) = keypoint_classes(sigmas(), label_map, {"nose": 0, "tail": 2})
            assert found == KeypointClass(0, [0.05, 0.05], [0, 2])

    @pytest.mark.parametrize(
        ("settings", "places", "said"),
        [
            (sigmas(nose=0.5), {"nose": 0}, 'give .* key: "tail" .* of "cat" too'),
            (sigmas(nose=0, tail=1), {"nose": 0}, 'of "nose" is 0, not above 0'),
            (section(KEYPOINTS.replace("cat", "cats")), {}, 'no class "cats".*cat'),
        ],
    )
    def test_that_cannot_be(self, settings, places, said):
        with pytest.raises(ConfigError, match=f"coco_keypoint_metrics: .*{said}"):
            keypoint_classes(settings, POSED, places)

    def test_of_keypoints_that_no_object_has(self):
        with pytest.raises(ConfigError, match=r'no object has a keypoint "noes".*nose'):
            keypoint_classes(sigmas(noes=1), CLASSES, {"nose": 0})
        with pytest.raises(ConfigError, match="neither the label map nor the records have keypoints"):
            keypoint_classes(sigmas(), CLASSES, {})
