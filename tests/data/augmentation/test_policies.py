import numpy as np
import pytest

from boxtune.data.augmentation import policies
from boxtune.errors import ConfigError
from samples import BOXES, assert_same, run, sample, step, unchanged

NAMES = {name for policy in policies.POLICIES.values() for part in policy for name, _, _ in part}
WHITE = np.full((200, 300, 3), 255)


def painted(height=400, width=600):
    """A black image with three boxes, each in a colour of its own, and nothing at its edges."""
    boxes = [[0.4, 0.45, 0.5, 0.55], [0.55, 0.6, 0.65, 0.65], [0.45, 0.3, 0.6, 0.35]]
    image = np.zeros((height, width, 3))
    for number, box in enumerate(boxes):
        top, left, bottom, right = np.round(np.array(box) * [height, width, height, width]).astype(int)
        image[top:bottom, left:right, number] = 255
    return sample(boxes, image=image)


def boxes_of_paint(image):
    """Return the box around each colour of `painted`."""
    found = []
    for number in range(3):
        others = [0, 1, 2][:number] + [0, 1, 2][number + 1 :]
        rows, columns = np.nonzero((image[..., number] > 200) & (image[..., others] < 100).all(-1))
        found.append([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1])
    return np.array(found)


class TestOperations:
    @pytest.mark.parametrize("name", sorted(policies._MOVES))
    @pytest.mark.parametrize("level", [2, 5])
    def test_boxes_move_with_their_objects(self, name, level):
        for seed in range(4):
            moved = run(policies.operation(name, 1.0, level), painted(), (seed, 0))
            np.testing.assert_allclose(
                moved["boxes"] * [400, 600, 400, 600], boxes_of_paint(moved["image"]), atol=1.01
            )

    @pytest.mark.parametrize("name", sorted(NAMES - set(policies._MOVES)))
    def test_boxes_stay_otherwise(self, name):
        changed = run(policies.operation(name, 1.0, 6), sample())
        assert_same(changed | {"image": 0}, unchanged(sample()) | {"image": 0})
        assert changed["image"].shape == (40, 60, 3)

    @pytest.mark.parametrize("name", sorted(NAMES))
    def test_without_objects(self, name):
        changed = run(policies.operation(name, 1.0, 6), sample(boxes=[]))
        assert changed["boxes"].shape == (0, 4)
        if "box" in name:
            np.testing.assert_array_equal(changed["image"], sample()["image"])

    def test_both_directions_are_as_likely(self):
        translate = policies.operation("translate x", 1.0, 1)  # 25 pixels
        firsts = [run(translate, sample(), (seed, 0))["image"][0, 0, 1] for seed in range(60)]
        assert set(firsts) == {25, 128}
        assert 15 <= firsts.count(25) <= 45  # four standard deviations

    def test_probability(self):
        brighten = policies.operation("brightness", 0.25, 10)
        dark = sample(image=np.full((40, 60, 3), 50))
        changed = [run(brighten, dark, (seed, 0))["image"][0, 0, 0] for seed in range(80)]
        assert set(changed) == {50, 95}  # 1.9 times
        assert 5 <= changed.count(95) <= 35  # four standard deviations

    def test_objects_that_leave_the_image_are_dropped(self):
        # By 62.5 pixels to the left or to the right, which is more than the 60 there are.
        moved = run(policies.operation("translate x", 1.0, 3), sample())
        assert moved["boxes"].shape == (0, 4)
        assert moved["weights"].shape == (0,)

    def test_cutout(self):
        # 2 * 40 pixels, cut at the edges.
        for seed in range(10):
            image = run(policies.operation("cutout", 1.0, 4), sample(image=WHITE), (seed, 0))["image"]
            rows, columns = np.nonzero((image == 128).all(-1))
            assert 40 <= np.ptp(rows) + 1 <= 80
            assert 40 <= np.ptp(columns) + 1 <= 80
            assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)

    def test_cutout_of_a_box(self):
        # Three tenths of the 100 x 150 of the box, around one of its pixels, which may be its last.
        box = [[0.25, 0.25, 0.75, 0.75]]
        for seed in range(10):
            given = sample(box, image=WHITE)
            image = run(policies.operation("cutout of a box", 1.0, 4), given, (seed, 0))["image"]
            rows, columns = np.nonzero((image == 128).all(-1))
            assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (30, 44)
            assert rows.min() >= 50 - 15
            assert rows.max() < 150 + 15


class TestInBoxes:
    def test_what_is_outside_of_the_boxes_stays(self):
        noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3))
        flip = policies.operation("flip in boxes", 3.0, 4)  # a third of it for each box: always
        changed = run(flip, sample(BOXES[:2], image=noise))["image"]
        expected = noise.copy()
        expected[0:20, 0:15] = noise[0:20, 0:15][:, ::-1]
        expected[10:30, 30:60] = noise[10:30, 30:60][:, ::-1]
        np.testing.assert_array_equal(changed, expected)

    def test_a_third_of_the_probability(self):
        boxes = [
            [row / 10, column / 10, (row + 1) / 10, (column + 1) / 10]
            for row in range(10)
            for column in range(10)
        ]
        cut = policies.operation("shear y in boxes", 0.75, 10)
        image = run(cut, sample(boxes, image=np.zeros((100, 100, 3))))["image"]
        changed = sum(
            bool(image[row : row + 10, column : column + 10].any())
            for row in range(0, 100, 10)
            for column in range(0, 100, 10)
        )
        assert 8 <= changed <= 42  # a quarter of 100, four standard deviations

    @pytest.mark.parametrize("box", [[0, 0, 0, 0], [1, 1, 1, 1], [0.99, 0.5, 1, 0.5], [-0.5, -0.5, 1.5, 1.5]])
    def test_odd_boxes(self, box):
        for name in ("rotate", "equalize", "cutout", "flip"):
            changed = run(policies.operation(f"{name} in boxes", 3.0, 10), sample([box]))
            assert changed["image"].shape == (40, 60, 3)


class TestPolicies:
    @pytest.mark.parametrize("name", sorted(policies.POLICIES))
    def test_every_operation_is_built(self, name):
        changed = run(step(f'autoaugment_image {{ policy_name: "{name}" }}'), sample())
        assert changed["image"].shape == (40, 60, 3)
        for part in policies.POLICIES[name]:
            for operation, probability, level in part:
                assert 0 <= probability <= 1
                assert 0 <= level <= 10
                policies.operation(operation, probability, level)

    def test_sizes_of_the_policies(self):
        sizes = {
            name: (len(policy), {len(part) for part in policy}) for name, policy in policies.POLICIES.items()
        }
        assert sizes == {
            "v0": (5, {2}),
            "v1": (20, {2}),
            "v2": (15, {3, 2}),
            "v3": (15, {2}),
            "test": (1, {2}),
        }

    def test_v0_is_the_default(self):
        assert_same(
            run(step("autoaugment_image { }"), sample()),
            run(step('autoaugment_image { policy_name: "v0" }'), sample()),
        )

    def test_all_sub_policies_are_drawn(self):
        images = {
            run(step("autoaugment_image { }"), sample(), (seed, 0))["image"].tobytes() for seed in range(40)
        }
        # Two directions, and with or without the operations that have a probability.
        assert len(images) > 8

    def test_a_policy_that_there_is_not(self):
        with pytest.raises(ConfigError, match='policy_name is "v9"; choose one of: v0, v1, v2, v3, test'):
            step('autoaugment_image { policy_name: "v9" }')
