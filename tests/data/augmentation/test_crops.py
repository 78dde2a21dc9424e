import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from boxtune.data.augmentation import crops
from boxtune.errors import ConfigError
from samples import BOXES, assert_same, run, run_seeds, sample, step, unchanged


def crop_to(given_sample, start, size, *options, **named):
    return crops.crop_to(given_sample, np.int32(start), np.int32(size), *options, **named)


def pad_to(given_sample, start, size, color=(1, 2, 3)):
    padded = lambda one, _: crops.pad_to(one, tf.constant(start), tf.constant(size), color)  # noqa: E731
    return run(padded, given_sample)


def window_of(changed):
    """Return top, left, bottom and right, in pixels, of what was cut out: the pixels themselves say so."""
    rows, columns = changed["image"][..., 0].astype(int), changed["image"][..., 1].astype(int)
    return np.array([rows[0, 0], columns[0, 0], rows[-1, 0] + 1, columns[0, -1] + 1])


class TestCropTo:
    def test_by_hand(self):
        # The lower right quarter. Box 0 lies outside; box 1 half in it; box 2 wholly.
        cropped = crop_to(sample(), [20, 30], [20, 30])
        np.testing.assert_array_equal(cropped["image"], sample()["image"][20:, 30:])
        np.testing.assert_allclose(cropped["boxes"], [[0, 0, 0.5, 1], [0, 0, 0.2, 0.2]], atol=1e-6)
        np.testing.assert_array_equal(cropped["classes"], [1, 2])
        np.testing.assert_array_equal(cropped["weights"], [0.75, 0.5])
        np.testing.assert_array_equal(cropped["is_crowd"], [True, False])
        np.testing.assert_array_equal(cropped["difficult"], [False, True])
        assert cropped["filename"] == b"a.jpg"

    def test_the_whole_image(self):
        assert_same(crop_to(sample(), [0, 0], [40, 60], 1.0), sample())

    @pytest.mark.parametrize(("overlap_thresh", "kept"), [(0.0, [1, 2]), (0.5, [1, 2]), (0.51, [2])])
    def test_overlap_thresh_is_the_least_share_of_a_box(self, overlap_thresh, kept):
        # Exactly half of box 1 lies in the lower right quarter.
        cropped = crop_to(sample(), [20, 30], [20, 30], overlap_thresh)
        np.testing.assert_array_equal(cropped["classes"], kept)

    def test_a_box_that_touches_the_window_is_dropped(self):
        touching = sample(boxes=[[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 0.5, 1.0]])
        cropped = crop_to(touching, [20, 0], [20, 60])
        assert cropped["boxes"].shape == (0, 4)

    def test_boxes_need_not_be_cut(self):
        cropped = crop_to(sample(), [20, 30], [20, 30], clip_boxes=False)
        np.testing.assert_allclose(cropped["boxes"][0], [-0.5, 0, 0.5, 1], atol=1e-6)

    @given(st.integers(2, 60), st.integers(2, 60), st.data())
    @settings(max_examples=50, deadline=None)
    def test_what_lies_within_is_kept_at_any_threshold(self, height, width, data):
        top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
        bottom, right = data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width))
        exactly = np.float32([top / height, left / width, bottom / height, right / width])
        cropped = crop_to(sample([exactly], height, width), [top, left], [bottom - top, right - left], 1.0)
        np.testing.assert_allclose(cropped["boxes"], [[0, 0, 1, 1]], atol=1e-5)


class TestPadTo:
    def test_by_hand(self):
        # 40 x 60 into 80 x 120, 10 from the top and 20 from the left.
        padded = pad_to(sample(boxes=[[0, 0, 0.5, 1]]), [10, 20], [80, 120])
        assert padded["image"].shape == (80, 120, 3)
        np.testing.assert_array_equal(padded["image"][10:50, 20:80], sample()["image"])
        np.testing.assert_array_equal(padded["image"][[9, 50, 10, 10], [20, 20, 19, 80]], [[1, 2, 3]] * 4)
        np.testing.assert_allclose(padded["boxes"], [[10 / 80, 20 / 120, 30 / 80, 80 / 120]], rtol=1e-6)

    def test_back_again(self):
        padded = pad_to(sample(), [7, 0], [48, 63])
        again = run(lambda one, _: crop_to(one, [7, 0], [40, 60]), padded)
        np.testing.assert_array_equal(again["image"], sample()["image"])
        np.testing.assert_allclose(again["boxes"], sample()["boxes"], atol=1e-6)

    def test_nothing_to_pad(self):
        assert_same(pad_to(sample(), [0, 0], [40, 60]), unchanged(sample()))

    def test_mean_color_by_hand(self):
        # Rows 0 to 39, columns 0 to 59.
        np.testing.assert_array_equal(crops.mean_color(sample()["image"]), [19.5, 29.5, 7])

    def test_the_mean_of_a_large_image_is_exact(self):
        image = np.full((3000, 2000, 3), 255, np.uint8)
        image[0, 0, 1] = 0
        np.testing.assert_array_equal(crops.mean_color(image), np.float32([255, 255 - 255 / 6e6, 255]))


CROP = (
    "random_crop_image { min_object_covered: %g min_aspect_ratio: 0.75 max_aspect_ratio: 3.0 min_area: %g "
    "max_area: %g overlap_thresh: %g random_coef: %g }"
)


class TestRandomCropImage:
    @pytest.mark.parametrize("covered", [0.3, 0.7, 1.0])
    def test_covers_enough_of_some_object(self, covered):
        crop = step(CROP % (covered, 0.1, 1.0, 0.0, 0.0))
        areas = []
        for changed in run_seeds(crop, sample(), 30):
            top, left, bottom, right = window_of(changed) / [40, 60, 40, 60]
            ymin, xmin, ymax, xmax = np.transpose(BOXES)
            height = np.minimum(ymax, bottom) - np.maximum(ymin, top)
            width = np.minimum(xmax, right) - np.maximum(xmin, left)
            fraction = np.maximum(height, 0) * np.maximum(width, 0) / ((ymax - ymin) * (xmax - xmin))
            assert fraction.max() >= covered - 1e-5
            areas.append((bottom - top) * (right - left))
        assert min(areas) < 0.9  # not always the whole image

    def test_area_and_aspect_ratio_stay_in_their_ranges(self):
        crop = step(CROP % (0.0, 0.3, 0.6, 0.0, 0.0))
        for changed in run_seeds(crop, sample(), 30):
            height, width = changed["image"].shape[:2]
            # A pixel more or less for rounding.
            assert 0.3 - 0.05 <= height * width / 2400 <= 0.6 + 0.05
            assert 0.75 - 0.1 <= width / height <= 3 + 0.3

    def test_random_coef_keeps_the_whole_image(self):
        always, never = step(CROP % (0.1, 0.2, 0.5, 0.0, 1.0)), step(CROP % (0.1, 0.2, 0.5, 0.0, 0.0))
        for seed in range(10):
            assert_same(run(always, sample(), (seed, 0)), unchanged(sample()))
            assert run(never, sample(), (seed, 0))["image"].shape != (40, 60, 3)

    def test_a_image_without_objects_is_cropped_too(self):
        crop = step(CROP % (0.5, 0.5, 0.9, 0.0, 0.0))
        cropped = run(crop, sample(boxes=[]))
        assert cropped["boxes"].shape == (0, 4)
        assert cropped["image"].size < 40 * 60 * 3

    def test_boxes_beyond_the_image_are_no_error(self):
        crop = step(CROP % (0.1, 0.2, 0.5, 0.0, 0.0))
        boxes = run(crop, sample(boxes=[[-0.1, -0.2, 1.2, 1.1]]))["boxes"]
        assert np.all((boxes >= 0) & (boxes <= 1))

    @pytest.mark.parametrize("text", [CROP % (0.0, 0.1, 1.0, 0.3, 0.0), "ssd_random_crop { }"])
    def test_boxes_stay_where_their_objects_are(self, text):
        crop = step(text)
        for cropped in run_seeds(crop, sample(), 20):
            window = window_of(cropped)
            size = np.tile(window[2:] - window[:2], 2)
            for box, number in zip(cropped["boxes"], cropped["classes"], strict=True):
                inside = np.clip(
                    BOXES[number] * np.array([40, 60] * 2), np.tile(window[:2], 2), np.tile(window[2:], 2)
                )
                np.testing.assert_allclose(box * size + np.tile(window[:2], 2), inside, atol=1e-4)


# An operation that always (1) or never (0) keeps the whole image.
OPERATION = (
    "operations {{ min_object_covered: 0 min_aspect_ratio: 0.9 max_aspect_ratio: 1.1 min_area: 0.2 "
    "max_area: 0.3 overlap_thresh: 0 random_coef: {} {} }}"
)


class TestSsdCrops:
    def test_one_of_the_operations_is_drawn(self):
        # Both are seen: half of 40 each, and four deviations of 3.2.
        crop = step(f"ssd_random_crop {{ {OPERATION.format(1, '')} {OPERATION.format(0, '')} }}")
        whole = [changed["image"].shape == (40, 60, 3) for changed in run_seeds(crop, sample(), 40)]
        assert 8 <= sum(whole) <= 32

    def test_default_operations_give_many_sizes(self):
        crop = step("ssd_random_crop { }")
        shapes = {changed["image"].shape for changed in run_seeds(crop, sample(), 30)}
        assert len(shapes) > 10

    @pytest.mark.parametrize(
        ("ratio", "operations"),
        [(1.0, ""), (2.0, "operations { min_area: 0.1 max_area: 1 min_object_covered: 0.1 }")],
        ids=["1, default operations", "2"],
    )
    def test_a_fixed_aspect_ratio(self, ratio, operations):
        crop = step(f"ssd_random_crop_fixed_aspect_ratio {{ aspect_ratio: {ratio} {operations} }}")
        sizes = np.array(
            [changed["image"].shape for changed in run_seeds(crop, sample(height=200, width=250), 20)]
        )
        np.testing.assert_allclose(sizes[:, 1] / sizes[:, 0], ratio, rtol=0.03)
        assert len(set(sizes[:, 0])) > 5

    def test_a_fixed_aspect_ratio_without_a_crop(self):
        # The whole image is kept, then cut to a square of its height.
        operation = "operations { max_area: 1 min_area: 0.5 random_coef: 1 }"
        crop = step(f"ssd_random_crop_fixed_aspect_ratio {{ {operation} }}")
        assert run(crop, sample())["image"].shape == (40, 40, 3)

    def test_a_pad_to_a_fixed_aspect_ratio(self):
        operation = OPERATION.format(1, "")
        pad = step(f"ssd_random_crop_pad_fixed_aspect_ratio {{ {operation} }}")
        sides = []
        for padded in run_seeds(pad, sample(), 30):
            height, width = padded["image"].shape[:2]
            assert height == width
            np.testing.assert_array_equal(padded["image"][:40, :60], sample()["image"])
            assert not padded["image"][40:].any()
            assert not padded["image"][:, 60:].any()
            np.testing.assert_allclose(padded["boxes"] * height, BOXES * np.array([40, 60] * 2), rtol=1e-5)
            sides.append(height)
        # From the longer side (a smaller square does not hold it) to twice the shorter one.
        assert 60 <= min(sides) < 66
        assert 74 < max(sides) <= 80

    def test_black_around_a_crop_of_a_given_operation(self):
        # Colours that are not given are 0: black, and not the mean.
        pad = step(f"ssd_random_crop_pad {{ {OPERATION.format(1, 'pad_color_g: 9')} }}")
        padded = run(pad, sample(image=np.full((40, 60, 3), 200)))["image"]
        assert {tuple(pixel) for pixel in padded.reshape(-1, 3)} == {(0, 9, 0), (200, 200, 200)}

    def test_mean_color_around_a_default_crop(self):
        pad = step("ssd_random_crop_pad { }")
        for seed in range(5):
            padded = run(pad, sample(image=np.full((40, 60, 3), 200)), (seed, 0))["image"]
            assert np.all(padded == 200)

    def test_sizes_are_ratios_of_the_whole_image(self):
        ratios = "min_padded_size_ratio: [1.5, 1.0] max_padded_size_ratio: [1.5, 1.0]"
        pad = step(f"ssd_random_crop_pad {{ {OPERATION.format(0, ratios)} }}")
        assert run(pad, sample())["image"].shape == (60, 60, 3)


class TestCropToAspectRatio:
    @pytest.mark.parametrize(
        ("ratio", "position", "start", "size"),
        [
            (1.0, 0.0, [0, 0], [40, 40]),
            (1.0, 0.999, [0, 20], [40, 40]),
            (1.5, 0.5, [0, 0], [40, 60]),
            (3.0, 0.999, [20, 0], [20, 60]),
            (0.25, 0.5, [0, 25], [40, 10]),  # 50 columns are left over: 51 places
        ],
    )
    def test_largest_window_by_hand(self, ratio, position, start, size):
        found = crops.largest_window(np.zeros((40, 60, 3)), ratio, tf.constant([position, position]))
        np.testing.assert_array_equal(found, [start, size])

    def test_all_places_are_drawn(self):
        crop = step("random_crop_to_aspect_ratio { aspect_ratio: 1.4 }")
        # 56 of 60 columns: starts 0 to 4, a fifth of 100 each, and four deviations of 4.
        lefts = [changed["image"][0, 0, 1] for changed in run_seeds(crop, sample(), 100)]
        assert sorted(set(lefts)) == [0, 1, 2, 3, 4]
        assert min(np.bincount(lefts)) >= 4

    def test_objects_outside_are_dropped(self):
        crop = step("random_crop_to_aspect_ratio { aspect_ratio: 0.1 overlap_thresh: 0.9 }")
        changed = run(crop, sample())
        assert changed["image"].shape == (40, 4, 3)
        assert len(changed["boxes"]) < 3


class TestSquareCrop:
    @pytest.mark.parametrize(
        ("border", "size", "expected"),
        # Halved until at most half of the side: 128 of 1000, 64 of 200, 16 of 40; 8 of 17 is allowed, 9 of 17 is not.
        [(128, 1000, 128), (128, 200, 64), (128, 40, 16), (8, 17, 8), (9, 17, 4), (0, 10, 0), (1, 1, 0)],
    )
    def test_border_by_hand(self, border, size, expected):
        assert crops.halved_below(border, tf.constant([size, size])).numpy().tolist() == [expected] * 2

    def test_sides_are_the_given_scales_of_the_longer_side(self):
        crop = step("random_square_crop_by_scale { scale_min: 0.5 scale_max: 1.5 num_scales: 3 }")
        shapes = [changed["image"].shape[:2] for changed in run_seeds(crop, sample(), 40)]
        assert set(shapes) == {(30, 30), (60, 60), (90, 90)}

    def test_centers_keep_off_the_edge(self):
        crop = step(
            "random_square_crop_by_scale { scale_min: 0.1 scale_max: 0.1 num_scales: 1 max_border: 8 }"
        )
        for changed in run_seeds(crop, sample(), 50):
            top, left, bottom, right = window_of(changed)
            assert 8 <= (top + bottom) / 2 <= 32
            assert 8 <= (left + right) / 2 <= 52

    def test_black_beyond_the_image(self):
        crop = step("random_square_crop_by_scale { scale_min: 2 scale_max: 2 num_scales: 1 }")
        image = np.full((40, 60, 3), 200)
        changed = run(crop, sample(image=image))
        # 120 x 120, with all of the image in it, wherever its centre is.
        assert changed["image"].shape == (120, 120, 3)
        assert (changed["image"] == 200).sum() == image.size
        assert (changed["image"] == 0).sum() == 120 * 120 * 3 - image.size
        assert len(changed["boxes"]) == 3


class TestScaleCropAndPad:
    def test_a_smaller_image_lies_top_left_on_black(self):
        crop = step("random_scale_crop_and_pad_to_square { output_size: 120 scale_min: 0.5 scale_max: 0.5 }")
        changed = run(crop, sample())
        np.testing.assert_array_equal(changed["image"][:40, :60], sample()["image"])
        assert not changed["image"][40:].any()
        assert not changed["image"][:, 60:].any()
        np.testing.assert_allclose(changed["boxes"], BOXES * np.array([1 / 3, 1 / 2] * 2), rtol=1e-5)

    def test_of_a_larger_image_a_window_is_left(self):
        # 80 x 120, and 30 of each are kept.
        crop = step("random_scale_crop_and_pad_to_square { output_size: 30 scale_min: 4 scale_max: 4 }")
        tops, lefts = set(), set()
        for changed in run_seeds(crop, sample(), 40):
            assert changed["image"].shape == (30, 30, 3)
            top, left = changed["image"][0, 0, :2]
            assert changed["image"][-1, -1, 0] - top in (14, 15)
            tops.add(int(top))
            lefts.add(int(left))
        assert 0 <= min(tops) < 5
        assert 20 < max(tops) <= 25
        assert 0 <= min(lefts) < 8
        assert 37 < max(lefts) <= 45

    def test_scales_are_drawn_evenly(self):
        crop = step("random_scale_crop_and_pad_to_square { output_size: 64 scale_min: 0.1 scale_max: 0.9 }")
        white = sample(image=np.full((50, 50, 3), 255))
        sides = [changed["image"][:, 0, 0].astype(bool).sum() for changed in run_seeds(crop, white, 60)]
        assert 5 <= min(sides) < 12
        assert 52 < max(sides) <= 57
        # The mean of the uniform ratio is 0.5, and its deviation 0.23 / sqrt(60).
        assert abs(np.mean(sides) / 64 - 0.5) < 0.13


class TestPads:
    def test_sizes_and_places(self):
        pad = step("random_pad_image { }")
        heights, tops = [], []
        for padded in run_seeds(pad, sample(boxes=[[0, 0, 1, 1]]), 60):
            height, width = padded["image"].shape[:2]
            assert 40 <= height < 80
            assert 60 <= width < 120
            pixels = np.round(padded["boxes"][0] * [height, width, height, width]).astype(int)
            top, left, bottom, right = pixels
            np.testing.assert_array_equal(padded["image"][top:bottom, left:right], sample()["image"])
            heights.append(height)
            tops.append(top / max(height - 40, 1))
        assert min(heights) < 46
        assert max(heights) > 74
        assert min(tops) < 0.1
        assert max(tops) > 0.8

    def test_in_the_mean_color(self):
        # 19.5 and 29.5 are rounded to the even number.
        pad = step("random_pad_image { min_image_height: 100 min_image_width: 100 }")
        padded = run(pad, sample(boxes=[]))["image"]
        assert padded.shape[0] == 100
        assert [20, 30, 7] in padded[[0, -1], [0, -1]].tolist()

    def test_in_a_given_color_and_size(self):
        pad = step(
            "random_pad_image { min_image_height: 50 min_image_width: 70 max_image_height: 51 max_image_width: 71 "
            "pad_color: [250, 0, 9] }"
        )
        padded = run(pad, sample())["image"]
        assert padded.shape == (50, 70, 3)
        assert (padded == [250, 0, 9]).all(-1).sum() == 50 * 70 - 40 * 60

    def test_a_image_that_is_larger_is_not_cut(self):
        pad = step(
            "random_pad_image { min_image_height: 5 min_image_width: 5 max_image_height: 9 max_image_width: 9 }"
        )
        assert_same(run(pad, sample()), unchanged(sample()))

    def test_absolute(self):
        pad = step("random_absolute_pad_image { max_height_padding: 10 max_width_padding: 5 }")
        shapes = np.array([changed["image"].shape for changed in run_seeds(pad, sample(), 60)])
        assert set(shapes[:, 0]) == set(range(40, 50))
        assert set(shapes[:, 1]) == set(range(60, 65))

    def test_absolute_by_nothing(self):
        assert_same(run(step("random_absolute_pad_image { }"), sample()), unchanged(sample()))

    def test_crop_and_pad_is_of_the_size_before_the_crop(self):
        pad = step(
            "random_crop_pad_image { min_object_covered: 0 min_area: 0.1 max_area: 0.3 min_padded_size_ratio: [1, 1] "
            "max_padded_size_ratio: [1, 1] pad_color: [255, 255, 255] }"
        )
        for seed in range(10):
            padded = run(pad, sample(), (seed, 0))
            assert padded["image"].shape == (40, 60, 3)
            fraction = (padded["image"][..., 2] == 7).mean()
            assert 0.07 < fraction < 0.33


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("random_crop_image { min_area: 0 }", r"min_area is 0 and max_area 1; both must be in \[1e-06, 1\]"),
        ("random_crop_image { min_aspect_ratio: 2 max_aspect_ratio: 1 }", "min_aspect_ratio is 2"),
        ("random_crop_image { random_coef: 2 }", "random_coef is 2"),
        ("random_crop_image { min_object_covered: -1 }", "min_object_covered is -1"),
        ("ssd_random_crop { operations { min_area: 0.1 max_area: 1 } }", "min_aspect_ratio is 0"),
        ("random_crop_to_aspect_ratio { aspect_ratio: 0 }", "aspect_ratio is 0, width / height"),
        ("random_square_crop_by_scale { num_scales: 0 }", "num_scales is 0"),
        ("random_square_crop_by_scale { max_border: -1 }", "max_border is -1"),
        ("random_scale_crop_and_pad_to_square { output_size: 100000 }", "output_size is 100000"),
        ("random_scale_crop_and_pad_to_square { scale_min: 0 }", "scale_min is 0"),
        ("random_pad_image { min_image_height: 5 }", "set both min_image_height and min_image_width"),
        (
            "random_pad_image { max_image_height: 5 max_image_width: 99999 }",
            "max_image_height is 5 and max_image_width 99999",
        ),
        ("random_pad_image { pad_color: 5 }", r"pad_color is \[5.0\]; give red, green and blue"),
        ("random_pad_image { pad_color: [5, 5, 256] }", "pad_color"),
        ("random_absolute_pad_image { max_height_padding: -5 }", "max_height_padding is -5"),
        ("random_crop_pad_image { min_padded_size_ratio: 5 }", r"min_padded_size_ratio is \[5.0\]"),
        (
            "random_crop_pad_image { max_padded_size_ratio: [5, 99] }",
            r"min_padded_size_ratio is \[\] and max_padded_size_ratio \[5.0, 99.0\]",
        ),
    ],
)
def test_fields_that_cannot_be(text, fault):
    with pytest.raises(ConfigError, match=f"data_augmentation_options: [a-z_]+: {fault}"):
        step(text)
