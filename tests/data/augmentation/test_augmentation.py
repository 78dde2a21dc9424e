"""What holds for every step."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from boxtune.config import pipeline_pb2
from boxtune.config.unsupported import UNSUPPORTED
from boxtune.data import augmentation, geometry
from boxtune.data.augmentation import steps
from boxtune.data.decoder import Sample
from boxtune.data.input import as_written
from boxtune.errors import ConfigError
from samples import assert_same, run, sample, step, unchanged

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

OPERATIONS_OF_ONE_SHAPE = (
    "operations { min_area: 0.3 max_area: 1 } operations { min_area: 0.2 max_area: 0.9 }"
)
OPERATIONS = OPERATIONS_OF_ONE_SHAPE.replace("{", "{ min_aspect_ratio: 0.5 max_aspect_ratio: 2")
# Each step, so that something happens to an image of 40 x 60.
STEPS = (
    "random_horizontal_flip { }",
    "random_vertical_flip { }",
    "random_rotation90 { }",
    "random_self_concat_image { concat_vertical_probability: 0.5 concat_horizontal_probability: 0.5 }",
    "random_image_scale { }",
    "random_resize_method { target_height: 33 target_width: 44 }",
    "resize_image { new_height: 50 new_width: 50 }",
    "random_downscale_to_target_pixels { min_target_pixels: 500 max_target_pixels: 2000 }",
    "random_crop_image { min_object_covered: 0 min_area: 0.3 max_aspect_ratio: 3 overlap_thresh: 0 }",
    "random_crop_to_aspect_ratio { overlap_thresh: 0.1 }",
    "random_square_crop_by_scale { }",
    "random_scale_crop_and_pad_to_square { output_size: 48 scale_min: 0.5 }",
    "random_pad_image { }",
    "random_absolute_pad_image { max_height_padding: 9 max_width_padding: 9 }",
    "random_crop_pad_image { min_object_covered: 0 }",
    f"ssd_random_crop {{ {OPERATIONS} }}",
    f"ssd_random_crop_pad {{ {OPERATIONS} }}",
    f"ssd_random_crop_fixed_aspect_ratio {{ {OPERATIONS_OF_ONE_SHAPE} }}",
    f"ssd_random_crop_pad_fixed_aspect_ratio {{ {OPERATIONS} }}",
    "random_adjust_brightness { }",
    "random_adjust_contrast { }",
    "random_adjust_hue { }",
    "random_adjust_saturation { }",
    "random_distort_color { }",
    "random_rgb_to_gray { probability: 0.5 }",
    "adjust_gamma { gamma: 1.5 }",
    "random_pixel_value_scale { }",
    "random_patch_gaussian { }",
    "random_black_patches { }",
    "random_jpeg_quality { }",
    "random_jitter_boxes { }",
    "convert_class_logits_to_softmax { }",
    "drop_label_probabilistically { label: 1 drop_probability: 0.5 }",
    "remap_labels { original_labels: 1 new_label: 2 }",
    "autoaugment_image { }",
)
NOT_RANDOM = ("resize_image", "adjust_gamma", "convert_class_logits_to_softmax", "remap_labels")
names = [text.split()[0] for text in STEPS]
REFUSED = {
    field.removeprefix("PreprocessingStep.")
    for field in UNSUPPORTED
    if field.startswith("PreprocessingStep.")
}


def everything(texts=STEPS):
    options = [text_format.Parse(text, pipeline_pb2.PreprocessingStep()) for text in texts]
    return augmentation.augmentation(options, num_classes=3)


class TestSteps:
    def test_each_is_built_or_refused(self):
        oneof = pipeline_pb2.PreprocessingStep.DESCRIPTOR.oneofs_by_name["preprocessing_step"]
        declared = {field.name for field in oneof.fields}
        assert set(augmentation.STEPS) | REFUSED == declared
        assert set(augmentation.STEPS) == set(names)

    @pytest.mark.parametrize("name", sorted(REFUSED))
    def test_what_is_not_built_is_refused_as_its_table_says(self, name):
        with pytest.raises(
            ConfigError, match=r"PreprocessingStep: boxtune does not have .* yet; (remove|use) "
        ):
            step(f"{name} {{ }}")

    def test_an_empty_step(self):
        with pytest.raises(ConfigError, match="PreprocessingStep is empty"):
            step("")

    def test_none(self):
        assert_same(run(everything([]), sample()), unchanged(sample()))

    def test_each_draws_for_itself(self):
        # If both drew the same, two flips would always cancel.
        twice = everything(["random_horizontal_flip { }"] * 2)
        flipped = [run(twice, sample(), (seed, 0))["image"][0, 0, 1] > 0 for seed in range(30)]
        assert 0 < sum(flipped) < 30


@pytest.mark.parametrize("text", STEPS, ids=names)
class TestEveryStep:
    def test_the_same_seed_gives_the_same(self, text):
        function = step(text)
        for seed in range(3):
            assert_same(run(function, sample(), (seed, 3)), run(function, sample(), (seed, 3)))

    def test_other_seeds_give_another(self, text):
        function = step(text)
        drawn = {
            b"".join(changed[name].tobytes() for name in ("image", "boxes", "classes"))
            for changed in (run(function, sample(), (seed, 3)) for seed in range(10))
        }
        assert (len(drawn) > 1) != text.startswith(NOT_RANDOM)

    def test_in_a_graph_as_eagerly(self, text):
        function = step(text)
        in_a_graph = tf.function(as_written(function))
        for seed in range(4):
            assert_same(run(in_a_graph, sample(), (seed, 3)), run(function, sample(), (seed, 3)))

    def test_without_objects(self, text):
        changed = run(step(text), sample(boxes=[]))
        assert changed["boxes"].shape == (0, 4)
        assert changed["classes"].shape == (0,)

    @pytest.mark.parametrize("size", [(1, 1), (1, 30), (30, 1)])
    def test_of_the_smallest_images(self, text, size):
        changed = run(step(text), sample([[0, 0, 1, 1]], *size))
        assert changed["image"].ndim == 3
        assert min(changed["image"].shape) >= 1


@given(
    boxes=st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 4), max_size=4),
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    text=st.sampled_from(STEPS),
    seed=st.integers(0, 1000),
)
@settings(max_examples=200, deadline=None)
def test_what_comes_out_is_a_sample_again(boxes, height, width, text, seed):
    ordered = [[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in boxes]
    changed = run(step(text, num_classes=4), sample(ordered, height, width), (seed, 0))
    count = len(changed["boxes"])
    assert changed["image"].dtype == np.uint8
    assert changed["image"].shape[2] == 3
    assert changed["boxes"].shape == (count, 4)
    assert np.all((changed["boxes"] >= -1e-6) & (changed["boxes"] <= 1 + 1e-6))
    assert np.all(changed["boxes"][:, :2] <= changed["boxes"][:, 2:] + 1e-6)
    for name in ("classes", "weights", "areas", "is_crowd", "difficult", "group_of"):
        assert changed[name].shape == (count,)
        assert changed[name].dtype == sample()[name].dtype
    assert changed["class_scores"].shape == (count, 3)
    if not text.startswith(("remap_labels", "convert_class_logits_to_softmax")):
        # An object keeps its class and its scores, which are its number among those that there were.
        np.testing.assert_array_equal(changed["class_scores"][:, 0], changed["classes"])
    assert changed["filename"] == b"a.jpg"


# Black around it, for the mean colour of a crop may look like paint.
BLACK = {"random_crop_pad_image": "random_crop_pad_image { min_object_covered: 0 pad_color: [0, 0, 0] }"}
MOVING = STEPS[: names.index("random_adjust_brightness")]
GEOMETRY = [BLACK.get(text.split()[0], text) for text in MOVING if "self_concat" not in text]


@pytest.mark.parametrize("text", GEOMETRY, ids=[text.split()[0] for text in GEOMETRY])
def test_boxes_move_with_what_is_in_them(text):
    assert_boxes_move_with_what_is_in_them(step(text))


def assert_boxes_move_with_what_is_in_them(function):
    """Paint each box in a colour of its own, and find it again."""
    boxes = [[0.1, 0.1, 0.4, 0.3], [0.5, 0.45, 0.9, 0.9], [0.2, 0.6, 0.35, 0.95]]
    image = np.zeros((120, 160, 3))
    for number, box in enumerate(boxes):
        top, left, bottom, right = np.round(np.array(box) * [120, 160, 120, 160]).astype(int)
        image[top:bottom, left:right] = np.eye(3)[number] * 255
    found = 0
    for seed in range(12):
        changed = run(function, sample(boxes, image=image), (seed, 0))
        height, width = changed["image"].shape[:2]
        for box, number in zip(
            changed["boxes"] * [height, width, height, width], changed["classes"], strict=True
        ):
            others = np.arange(3) != number
            rows, columns = np.nonzero(
                (changed["image"][..., number] > 127) & (changed["image"][..., others] < 100).all(-1)
            )
            painted = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
            # Interpolation moves an edge by half of the larger of an old and a new pixel.
            tolerance = 1.01 + 0.5 * max(height / 120, width / 160, 1)
            np.testing.assert_allclose(box, painted, atol=tolerance)
            found += 1
    assert found > 12


class TestTheStepOfTheDocs:
    """The step that docs/augmentation.md writes as an example, as it is written there, under the name of another."""

    @pytest.fixture
    def transpose(self, monkeypatch):
        """Return a function from a section to the step, as a configuration with it gives it."""
        text = (Path(__file__).parents[3] / "docs" / "augmentation.md").read_text()
        code = text.split("```python\n")[1].split("```")[0]
        names_of_code = {"Sample": Sample, "tf": tf} | vars(steps) | vars(geometry)
        exec(compile(code, "docs/augmentation.md", "exec"), names_of_code)
        monkeypatch.setitem(augmentation.STEPS, "random_rotation90", names_of_code["random_transpose"])
        return lambda fields: step(f"random_rotation90 {{ {fields} }}")

    def test_by_hand(self, transpose):
        swapped = run(transpose("probability: 1"), sample([[0.1, 0.2, 0.3, 0.6]]))
        np.testing.assert_array_equal(swapped["image"], sample()["image"].transpose(1, 0, 2))
        np.testing.assert_array_equal(swapped["boxes"], np.float32([[0.2, 0.1, 0.6, 0.3]]))

    def test_its_boxes_move_with_what_is_in_them(self, transpose):
        assert_boxes_move_with_what_is_in_them(transpose("probability: 0.5"))

    def test_its_fields_are_checked(self, transpose):
        with pytest.raises(ConfigError, match="random_rotation90: probability is 2"):
            transpose("probability: 2")


THREADS = """
import sys
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(7)
tf.config.threading.set_inter_op_parallelism_threads(7)
from data.augmentation.test_augmentation import STEPS, fingerprint
print(*map(fingerprint, STEPS), sep="\\n")
"""


def fingerprint(text):
    image = np.random.default_rng(0).integers(0, 256, (400, 500, 3))
    changed = run(step(text), sample(image=image))
    return hashlib.sha256(changed["image"].tobytes() + changed["boxes"].tobytes()).hexdigest()


def test_threads_make_no_difference():
    """Sums of floats depend on their order, and that on the number of threads: none of the steps may."""
    many = subprocess.run(
        [sys.executable, "-c", THREADS],
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path]),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        },
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert dict(zip(STEPS, many, strict=True)) == {text: fingerprint(text) for text in STEPS}
