import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boxtune.errors import ConfigError
from samples import BOXES, assert_same, run, sample, step, unchanged

MODES = [
    "DEFAULT",
    "EXPAND",
    "SHRINK",
    "EXPAND_SYMMETRIC",
    "SHRINK_SYMMETRIC",
    "EXPAND_SYMMETRIC_XY",
    "SHRINK_SYMMETRIC_XY",
]
MIDDLE = [[0.4, 0.4, 0.6, 0.8]] * 50  # centre 0.5, 0.6; 0.2 high and 0.4 wide


def jittered(mode, boxes=MIDDLE, ratio=0.5, seed=(1, 2)):
    function = step(f"random_jitter_boxes {{ ratio: {ratio} jitter_mode: {mode} }}")
    return run(function, sample(boxes), seed)["boxes"]


class TestJitter:
    @pytest.mark.parametrize("mode", MODES)
    def test_how_far_each_side_moves(self, mode):
        boxes = jittered(mode)
        away = np.abs(boxes - np.array([0.5, 0.6, 0.5, 0.6])) / [0.1, 0.2, 0.1, 0.2]
        least, most = (0.5 if "EXPAND" not in mode else 1), (1.5 if "SHRINK" not in mode else 1)
        # 0.6 + 0.2 * 1.5 stays within the image. Of 50 draws some are near both ends.
        assert least - 1e-5 <= away.min() < least + 0.1
        assert most - 0.1 < away.max() <= most + 1e-5
        assert np.allclose(away[:, :2], away[:, 2:], atol=1e-4) == ("SYMMETRIC" in mode)
        assert np.allclose(away[:, 0], away[:, 1], atol=1e-4) == ("XY" in mode)
        assert len(np.unique(away[:, 0])) > 40  # each box has draws of its own

    @pytest.mark.parametrize("mode", ["EXPAND_SYMMETRIC", "EXPAND_SYMMETRIC_XY"])
    def test_a_center_stays_where_it_is_at_the_edge_too(self, mode):
        # The right side is 0.05 from the edge; it may get 0.05 / 0.2 = a quarter of the half width nearer.
        boxes = jittered(mode, [[0.4, 0.55, 0.6, 0.95]] * 20)
        np.testing.assert_allclose((boxes[:, 1] + boxes[:, 3]) / 2, 0.75, atol=1e-6)
        assert boxes[:, 3].max() == pytest.approx(1)

    @given(
        st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 4), max_size=5),
        st.sampled_from(MODES),
        st.floats(0, 0.99),
        st.integers(0, 100),
    )
    @settings(max_examples=60, deadline=None)
    def test_boxes_stay_in_order_and_in_the_image(self, corners, mode, ratio, seed):
        boxes = [[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in corners]
        changed = jittered(mode, boxes, ratio, (seed, 0))
        assert np.all((changed >= 0) & (changed <= 1))
        assert np.all(changed[:, :2] <= changed[:, 2:] + 1e-6)

    @pytest.mark.parametrize(
        ("mode", "ratio"), [("DEFAULT", 1), ("SHRINK", 2), ("EXPAND", -1), ("EXPAND", 200)]
    )
    def test_ratios_that_cannot_be(self, mode, ratio):
        with pytest.raises(ConfigError, match=f"random_jitter_boxes: ratio is {ratio}"):
            step(f"random_jitter_boxes {{ ratio: {ratio} jitter_mode: {mode} }}")

    def test_boxes_may_grow_to_several_times_their_size(self):
        boxes = jittered("EXPAND", [[0.45, 0.45, 0.55, 0.55]] * 20, ratio=3)
        assert (boxes[:, 2] - boxes[:, 0]).max() > 0.3


class TestClasses:
    def test_drop_by_hand(self):
        # Label 2 is class 1.
        changed = run(step("drop_label_probabilistically { label: 2 }"), sample())
        np.testing.assert_array_equal(changed["classes"], [0, 2])
        np.testing.assert_array_equal(changed["weights"], [1, 0.5])

    def test_each_object_is_drawn_for(self):
        boxes = [[0, 0, 1, 1]] * 400
        given_sample = sample(boxes) | {"classes": np.int32([0, 1] * 200)}
        changed = run(step("drop_label_probabilistically { label: 1 drop_probability: 0.25 }"), given_sample)
        assert (changed["classes"] == 1).sum() == 200
        assert abs((changed["classes"] == 0).sum() - 150) <= 24  # four standard deviations

    def test_remap_by_hand(self):
        # Labels 1 and 3 become 2: classes 0 and 2 become 1.
        changed = run(step("remap_labels { original_labels: [1, 3] new_label: 2 }"), sample())
        np.testing.assert_array_equal(changed["classes"], [1, 1, 1])

    def test_remap_of_a_label_to_another_that_is_remapped(self):
        changed = run(step("remap_labels { original_labels: [1, 2] new_label: 2 }"), sample())
        np.testing.assert_array_equal(changed["classes"], [1, 1, 2])

    def test_remap_of_nothing(self):
        assert_same(run(step("remap_labels { new_label: 2 }"), sample()), unchanged(sample()))

    @pytest.mark.parametrize(
        ("temperature", "logit"), [(1, np.log(3)), (2, 2 * np.log(3)), (0.5, np.log(3) / 2)]
    )
    def test_softmax_by_hand(self, temperature, logit):
        # The powers are 1, 3 and 1 of 5 in all.
        given_sample = sample(BOXES[:1]) | {"class_scores": np.float32([[0, logit, 0]])}
        function = step(f"convert_class_logits_to_softmax {{ temperature: {temperature} }}")
        np.testing.assert_allclose(run(function, given_sample)["class_scores"], [[0.2, 0.6, 0.2]], rtol=1e-6)

    @pytest.mark.parametrize("temperature", ["0", "-1", "inf", "nan"])
    def test_temperatures_that_cannot_be(self, temperature):
        with pytest.raises(ConfigError, match=f"temperature is {temperature}; it must be above 0 and finite"):
            step(f"convert_class_logits_to_softmax {{ temperature: {temperature} }}")

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            (
                "drop_label_probabilistically { label: 4 }",
                "label 4 is not an id of the label map; they go from 1 to 3",
            ),
            ("drop_label_probabilistically { }", "label 0 is not an id"),
            ("drop_label_probabilistically { label: 1 drop_probability: 2 }", "drop_probability is 2"),
            ("remap_labels { original_labels: 1 new_label: 4 }", "new_label 4 is not an id"),
            ("remap_labels { original_labels: [1, 0] new_label: 1 }", "original_labels 0 is not an id"),
        ],
    )
    def test_labels_that_are_not_in_the_label_map(self, text, fault):
        with pytest.raises(ConfigError, match=fault):
            step(text)
