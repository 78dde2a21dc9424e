"""The preprocessor; expected numbers are worked out by hand."""

from unittest import mock

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from object_detection.core import preprocessor
from object_detection.core.preprocessor_cache import PreprocessorCache

BOXES = np.array([[0, 0.25, 0.75, 1], [0.25, 0.5, 0.75, 1]], np.float32)
KEYPOINTS = np.array([[[0.1, 0.1], [0.5, 0.5]], [[0.25, 0.75], [np.nan, np.nan]]], np.float32)
MAP = {
    "include_label_confidences": True,
    "include_multiclass_scores": True,
    "include_instance_masks": True,
    "include_keypoints": True,
}


def equal(tensor, expected):
    np.testing.assert_allclose(tensor, expected, rtol=1e-5, atol=1e-6)


def pixels(height=20, width=30, channels=3):
    return tf.reshape(tf.range(height * width * channels, dtype=tf.float32) % 256, (height, width, channels))


def sample(**more):
    return {
        "image": pixels()[None],
        "groundtruth_boxes": tf.constant(BOXES),
        "groundtruth_classes": tf.constant([1, 2]),
        "groundtruth_weights": tf.constant([1.0, 0.5]),
        "groundtruth_confidences": tf.constant([0.5, 1.0]),
        "multiclass_scores": tf.constant([[0.1, 0.9], [0.8, 0.2]]),
        "groundtruth_instance_masks": tf.constant(np.arange(1200).reshape(2, 20, 30) % 7 == 0, tf.float32),
        "groundtruth_keypoints": tf.constant(KEYPOINTS),
        **more,
    }


STEPS = [
    (
        "normalize_image",
        {"original_minval": 0, "original_maxval": 255, "target_minval": 0, "target_maxval": 1},
    ),
    ("random_horizontal_flip", {"keypoint_flip_permutation": [1, 0]}),
    ("random_vertical_flip", {}),
    ("random_rotation90", {}),
    ("random_pixel_value_scale", {}),
    ("random_image_scale", {}),
    ("random_rgb_to_gray", {"probability": 0.5}),
    ("random_distort_color", {}),
    ("random_distort_color", {"color_ordering": 1}),
    ("random_crop_image", {}),
    ("random_crop_image", {"random_coef": 0.5, "min_object_covered": 0.1}),
    ("random_pad_image", {}),
    ("random_pad_image", {"center_pad": True, "pad_color": [1.0, 2, 3]}),
    ("random_absolute_pad_image", {"max_height_padding": 4, "max_width_padding": 5}),
    ("random_crop_pad_image", {}),
    ("random_crop_to_aspect_ratio", {"aspect_ratio": 2.0}),
    ("random_crop_to_aspect_ratio", {"center_crop": True}),
    ("random_pad_to_aspect_ratio", {"max_padded_size_ratio": (4.0, 4.0)}),
    ("random_black_patches", {"size_to_image_ratio": 0.5}),
    ("random_jpeg_quality", {"random_coef": 0.5}),
    ("random_downscale_to_target_pixels", {"min_target_pixels": 100, "max_target_pixels": 200}),
    ("random_patch_gaussian", {"min_patch_size": 3, "max_patch_size": 9}),
    ("random_resize_method", {"target_size": [5, 6]}),
    ("random_self_concat_image", {"concat_vertical_probability": 0.5, "concat_horizontal_probability": 0.5}),
    ("ssd_random_crop", {}),
    ("ssd_random_crop_pad", {}),
    ("ssd_random_crop_fixed_aspect_ratio", {}),
    ("ssd_random_crop_pad_fixed_aspect_ratio", {}),
    ("random_square_crop_by_scale", {}),
]


@pytest.mark.parametrize(("name", "arguments"), STEPS)
def test_the_same_again_with_a_cache(name, arguments):
    cache, functions = PreprocessorCache(), preprocessor.get_default_func_arg_map(**MAP)
    step = [(getattr(preprocessor, name), arguments)]
    first, second = (preprocessor.preprocess(sample(), step, functions, cache) for _ in range(2))
    assert first.keys() == sample().keys()
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key], err_msg=key)
    assert len(first["image"].shape) == 4
    assert np.isfinite(first["image"]).all()
    assert first["groundtruth_boxes"].shape[0] == first["groundtruth_classes"].shape[0]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ssd_random_crop", {"min_object_covered": (0.1, 0.5)}),
        ("random_self_concat_image", {"concat_vertical_probability": 0.5}),
    ],
)
def test_in_a_graph_two_images_are_changed_alike(name, arguments):
    @tf.function(autograph=False)
    def both():
        cache, step = PreprocessorCache(), [(getattr(preprocessor, name), arguments)]
        return [preprocessor.preprocess(sample(), step, None, cache)["image"] for _ in range(2)]

    np.testing.assert_array_equal(*both())


def test_a_window_is_cut_out():
    window = (
        tf.constant([6, 143, 0]),
        tf.constant([190, 237, -1]),
        tf.constant([[[0.03, 0.3575, 0.98, 0.95]]]),
    )
    with mock.patch.object(tf.image, "sample_distorted_bounding_box", return_value=window):
        image, boxes, labels, weights, masks, keypoints, seen = preprocessor.random_crop_image(
            pixels(200, 400), BOXES, tf.constant([1, 2]), tf.ones(2), masks=tf.ones((2, 200, 400)),
            keypoints=KEYPOINTS, keypoint_visibilities=tf.ones((2, 2), tf.bool),
        )  # fmt: skip
    np.testing.assert_array_equal(image, pixels(200, 400)[6:196, 143:380])
    # (0.75 - 0.03) / 0.95 and (0.5 - 0.3575) / 0.5925
    equal(boxes, [[0, 0, 0.757895, 1], [0.231579, 0.240506, 0.757895, 1]])
    assert masks.shape == (2, 190, 237)
    equal(keypoints[0], [[np.nan, np.nan], [0.494737, 0.240506]])
    equal(seen, [[False, True], [True, False]])
    equal(labels, [1, 2])
    equal(weights, [1, 1])


def test_objects_with_too_little_in_a_window_are_dropped():
    with mock.patch.object(preprocessor, "_random_integer", return_value=tf.constant(0)):
        image, boxes, labels, weights = preprocessor.random_crop_to_aspect_ratio(
            pixels(200, 400), BOXES, tf.constant([1, 2]), tf.constant([0.1, 0.5])
        )
    assert image.shape == (200, 200, 3)  # the left half: 1 / 3 of the first box, nothing of the second
    equal(boxes, [[0, 0.5, 0.75, 1]])
    equal(labels, [1])
    equal(weights, [0.1])


def test_an_image_is_padded():
    with mock.patch.object(preprocessor, "_random_integer", side_effect=[*map(tf.constant, (4, 6, 1, 2))]):
        image, boxes, masks, keypoints = preprocessor.random_pad_image(
            tf.ones((2, 2, 3)), [[0.0, 0, 1, 1]], tf.ones((1, 2, 2)), [[[0.0, 1.0]]], pad_color=[5, 6, 7]
        )
    equal(image[..., 0], [[5] * 6, [5, 5, 1, 1, 5, 5], [5, 5, 1, 1, 5, 5], [5] * 6])
    equal(image[0, 0], [5, 6, 7])
    equal(boxes, [[1 / 4, 2 / 6, 3 / 4, 4 / 6]])
    equal(tf.reduce_sum(masks), 4)
    equal(keypoints, [[[1 / 4, 4 / 6]]])


def test_images_of_one_channel():
    gray = preprocessor.rgb_to_gray(tf.constant([[[100.0, 0, 0], [0, 100, 0]]]))
    equal(gray, [[[29.89], [58.7]]])
    for name in ("random_crop_image", "ssd_random_crop"):
        image, *_ = getattr(preprocessor, name)(pixels(20, 30, 1), BOXES, tf.constant([1, 2]), tf.ones(2))
        assert image.shape[2] == 1
    assert preprocessor.random_horizontal_flip(pixels(4, 5, 1))[0].shape == (4, 5, 1)


@pytest.mark.parametrize("name", ["random_adjust_hue", "random_distort_color", "random_rgb_to_gray"])
def test_channels_besides_colours_stay(name):
    image = tf.concat([pixels(4, 5, 3), tf.fill([4, 5, 2], 7.0)], axis=-1)
    more = {"probability": 1.0} if name == "random_rgb_to_gray" else {}
    changed = getattr(preprocessor, name)(image, **more)
    equal(changed[..., 3:], image[..., 3:])
    assert np.any(changed[..., :3].numpy() != image[..., :3].numpy())


def test_objects_by_weight_and_label():
    kept = preprocessor.retain_boxes_above_threshold(
        BOXES, tf.constant([1, 2]), tf.constant([0.1, np.nan]), masks=tf.ones((2, 3, 3)), threshold=0.5
    )
    equal(kept[1], [2])
    assert kept[3].shape == (1, 3, 3)
    dropped = preprocessor.drop_label_probabilistically(
        BOXES, tf.constant([1, 2]), tf.ones(2), dropped_label=1, drop_probability=1.1
    )
    equal(dropped[1], [2])
    equal(preprocessor.remap_labels(tf.constant([1, 2, 3]), [1, 3], 7), [7, 2, 7])
    equal(preprocessor.one_hot_encoding(tf.constant([1, 2, 4]), 5), [0, 1, 1, 0, 1])


@pytest.mark.parametrize("mode", ["default", "expand", "shrink_symmetric", "expand_symmetric_xy"])
def test_boxes_are_jittered(mode):
    jittered = preprocessor.random_jitter_boxes(tf.constant([[0.4, 0.4, 0.6, 0.6]]), 0.1, mode).numpy()
    sides = jittered[0, 2:] - jittered[0, :2]
    assert (sides >= (0.2 if mode.startswith("expand") else 0.18)).all()
    assert (sides <= (0.2 if mode.startswith("shrink") else 0.22) + 1e-6).all()
    assert not mode.endswith("xy") or sides[0] == pytest.approx(sides[1])


def test_sizes():
    # the shorter side of 20 becomes 10, but then the longer would be 30
    image, masks, shape = preprocessor.resize_to_range(
        pixels(20, 60),
        tf.ones((2, 20, 60)),
        10,
        24,
        pad_to_max_dimension=True,
        per_channel_pad_value=(1, 2, 3),
    )
    equal(shape, [8, 24, 3])
    assert image.shape == (24, 24, 3)
    equal(image[-1, -1], [1, 2, 3])
    equal(tf.reduce_sum(masks), 2 * 8 * 24)
    assert preprocessor.resize_to_min_dimension(pixels(20, 60), min_dimension=40)[0].shape == (40, 120, 3)
    assert preprocessor.resize_to_max_dimension(pixels(20, 60), max_dimension=30)[0].shape == (10, 30, 3)
    assert preprocessor.resize_pad_to_multiple(pixels(20, 60), multiple=32)[0].shape == (32, 64, 3)
    resized, no_masks, _ = preprocessor.resize_image(pixels(), tf.zeros((0, 20, 30)), 5, 6)
    assert (resized.shape, no_masks.shape) == ((5, 6, 3), (0, 5, 6))


def test_shapes_are_known_in_a_graph():
    @tf.function(autograph=False)
    def resize(image):
        assert preprocessor.resize_to_range(image, None, 10, 24)[0].shape == (8, 24, 3)
        return preprocessor.random_scale_crop_and_pad_to_square(
            image, BOXES, [1, 2], [1.0, 1], output_size=9
        )[0]

    assert resize(pixels(20, 60)).shape == (9, 9, 3)


def test_policies_leave_every_object_its_place():
    image, boxes = preprocessor.autoaugment_image(pixels(64, 64), BOXES, "test")
    assert image.dtype == tf.float32
    assert boxes.shape == (2, 4)


@pytest.mark.parametrize(
    "call",
    [
        lambda: preprocessor.preprocess({"image": pixels()}, []),
        lambda: preprocessor.preprocess(sample(), [(len, {})]),
        lambda: preprocessor.preprocess({"image": pixels()[None]}, [(preprocessor.random_jitter_boxes, {})]),
        lambda: preprocessor.random_jitter_boxes(BOXES, jitter_mode="sideways"),
        lambda: preprocessor.random_distort_color(pixels(), 2),
        lambda: preprocessor.subtract_channel_mean(pixels(), [1]),
        lambda: preprocessor.subtract_channel_mean(pixels()[None], [1, 2, 3]),
        lambda: preprocessor.one_hot_encoding([1]),
        lambda: preprocessor.resize_to_range(pixels()[None], None, 5, 6),
        lambda: preprocessor.resize_to_range(pixels(4, 4, 1), None, 5, 6, pad_to_max_dimension=True),
        lambda: preprocessor.resize_to_min_dimension(pixels()[None]),
        lambda: preprocessor.random_horizontal_flip(pixels(), densepose_part_ids=[1]),
        lambda: PreprocessorCache().get("nothing", ""),
        lambda: PreprocessorCache().update("nothing", "", 1),
    ],
)
def test_what_does_not_fit_is_refused(call):
    with pytest.raises(ValueError):
        call()


def test_a_cache_forgets():
    cache = PreprocessorCache()
    cache.update(PreprocessorCache.PAD_IMAGE, "key", 3)
    assert cache.get(PreprocessorCache.PAD_IMAGE, "key") == 3
    cache.clear()
    assert cache.get(PreprocessorCache.PAD_IMAGE, "key") is None
