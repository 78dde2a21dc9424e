"""Decoded records against what the API's decoder, given a label map, makes of the same bytes."""

import numpy as np
import pytest
import tensorflow as tf

from boxtune.data.decoder import parser
from boxtune.data.label_map import read_label_map
from boxtune.errors import DataError
from golden.recordings import FOLDER, Case, unit_cases

pytestmark = pytest.mark.shared

CASES = unit_cases("tf_examples")
NUM_CLASSES = 9


@pytest.fixture
def parse(tmp_path):
    if not CASES:
        pytest.skip(f"needs the recordings of {FOLDER} (or set BOXTUNE_GOLDEN)")
    path = tmp_path / "label_map.pbtxt"
    path.write_text(next(case.about["text"] for case in CASES if case.about["kind"] == "label_map"))
    return parser(read_label_map(path), NUM_CLASSES)


def serialized(name: str) -> bytes:
    record = next(case for case in CASES if case.about["kind"] == "record" and case.about["name"] == name)
    return record.arrays["serialized"].tobytes()


def decoded(*, failing: bool):
    return [
        pytest.param(case, id=case.about["record"])
        for case in CASES
        if case.about["kind"] == "decoded"
        and case.about["config"] == "label_map"
        and case.about["record"] != "partial_flags"  # see below
        and ("error" in case.about) == failing
    ]


@pytest.mark.parametrize("case", decoded(failing=False))
def test_decoded_records(case: Case, parse):
    sample = {name: np.asarray(part) for name, part in parse(serialized(case.about["record"])).items()}
    recorded = case.arrays
    labels = recorded["groundtruth_classes"]
    if case.about["record"] == "unknown_text":
        # The API takes -1 for a text that the label map lacks; here such an object keeps the number it has.
        np.testing.assert_array_equal(labels, [1, -1, 2])
        labels = np.array([1, 9, 2])
    count = len(labels)
    np.testing.assert_array_equal(sample["classes"], labels - 1)
    np.testing.assert_array_equal(sample["boxes"], recorded["groundtruth_boxes"].reshape(-1, 4))
    np.testing.assert_array_equal(sample["weights"], recorded["groundtruth_weights"])
    for name in ("is_crowd", "difficult"):
        # What a record lacks is an empty list in the API.
        flags = recorded[f"groundtruth_{name}"]
        np.testing.assert_array_equal(sample[name], flags if len(flags) else np.zeros(count), err_msg=name)
    np.testing.assert_array_equal(sample["size"], recorded["original_image_spatial_shape"])
    for name in ("filename", "source_id"):
        assert sample[name].item().decode() == case.about["strings"][name]
    if "image" in recorded:
        # The API decodes JPEG faster and less exactly.
        tolerance = 6 if case.about["record"].startswith("jpeg") else 0
        np.testing.assert_allclose(sample["image"].astype(int), recorded["image"], atol=tolerance)
    else:
        assert sample["image"].shape == tuple(recorded["image_shape"])
        assert sample["image"].sum() == recorded["image_sum"]


@pytest.mark.parametrize("case", decoded(failing=True))
def test_records_that_neither_decodes(case: Case, parse):
    assert case.about["error"].startswith("InvalidArgumentError")
    with pytest.raises((tf.errors.InvalidArgumentError, DataError)):
        parse(serialized(case.about["record"]))


def test_too_few_flags_are_an_error(parse):
    # One weight and one flag for three boxes: the API passes short lists on, and then pads them with zeros.
    with pytest.raises(tf.errors.InvalidArgumentError, match="one value for every box is needed"):
        parse(serialized("partial_flags"))
