"""Decoded records against what the API's decoder, given a label map, makes of the same bytes."""

import numpy as np
import pytest
import tensorflow as tf

from boxtune.data.decoder import parser
from boxtune.data.label_map import read_label_map
from boxtune.errors import DataError
from golden.recordings import FOLDER, Case, unit_cases
from object_detection.data_decoders import tf_example_decoder
from object_detection.protos import input_reader_pb2

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


# The decoder under the API's name


DECODERS = {
    "plain": {},
    "label_map": {"use_display_name": True},
    "masks_png": {"load_instance_masks": True, "instance_mask_type": input_reader_pb2.PNG_MASKS},
    "masks_numerical": {"load_instance_masks": True},
    "keypoints": {"num_keypoints": 3},
    "keypoint_label_map": {"num_keypoints": 3},
}
OF_DECODER = [
    pytest.param(case, id=f"{case.about['config']}-{case.about['record']}")
    for case in CASES
    if case.about["kind"] == "decoded"
]


@pytest.fixture
def decode(tmp_path):
    """Decode a record as in a recorded case."""

    def of_case(case):
        options = dict(DECODERS[case.about["config"]])
        if "label_map" in case.about["config"]:
            options["label_map_proto_file"] = tmp_path / "label_map.pbtxt"
            text = next(other.about["text"] for other in CASES if other.about["kind"] == "label_map")
            options["label_map_proto_file"].write_text(text)
        decoder = tf_example_decoder.TfExampleDecoder(**options)
        return decoder.decode(tf.constant(serialized(case.about["record"])))

    return of_case


@pytest.mark.parametrize("case", [one for one in OF_DECODER if "error" not in one.values[0].about])
def test_the_decoder_under_the_apis_name(case: Case, decode):
    tensors = {name: np.asarray(tensor) for name, tensor in decode(case).items()}
    image = tensors.pop("image")
    if "image" in case.arrays:
        tolerance = 6 if case.about["record"].startswith("jpeg") else 0
        np.testing.assert_allclose(image.astype(int), case.arrays["image"], atol=tolerance)
    else:
        assert (image.shape, image.sum()) == (tuple(case.arrays["image_shape"]), case.arrays["image_sum"])
    for name, text in case.about["strings"].items():
        assert tensors.pop(name).item().decode() == text
    for name, values in tensors.items():
        np.testing.assert_array_equal(values, case.arrays[name], err_msg=name)
        assert values.dtype.name == case.about["dtypes"][name], name
    assert set(tensors) == set(case.arrays) - {"image", "image_shape", "image_sum"}


@pytest.mark.parametrize("case", [one for one in OF_DECODER if "error" in one.values[0].about])
def test_what_the_decoder_under_the_apis_name_refuses(case: Case, decode):
    if case.about["config"] == "keypoint_label_map":
        # The API fails where keypoints are not named; here they are in the order of the label map.
        assert decode(case)["groundtruth_keypoints"].shape == (3, 3, 2)
        return
    with pytest.raises((tf.errors.InvalidArgumentError, DataError)):
        decode(case)
