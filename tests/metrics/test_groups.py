import numpy as np
import pytest

from boxtune.metrics.average_precision import coco_ranking, mean
from boxtune.metrics.coco import box_averages
from boxtune.metrics.groups import by_aspect, by_crowding, by_image, by_size
from boxtune.metrics.matching import match, outcomes
from boxtune.metrics.tables import near_pairs, tabulate
from hand_drawn import FAR, A, B, image, random_images
from image_results import coco_metrics

SMALL, MEDIUM = [300, 0, 320, 20], [300, 100, 350, 150]  # 20 and 50 pixels each way
TALL, WIDE = [0, 0, 100, 50], [200, 0, 250, 100]


def rows_of(groups):
    return {one.name: (one.num_objects, one.recall, one.AP50) for one in groups}


def sizes(*images, num_classes=2):
    everything = tabulate(images, num_classes)
    return rows_of(by_size(everything, near_pairs(everything)))


def aspects(*images, num_classes=2):
    everything = tabulate(images, num_classes)
    return rows_of(by_aspect(everything, near_pairs(everything)))


def outcome_at_50(everything):
    crowd = everything.groundtruth.crowd
    return outcomes(match(everything, near_pairs(everything), np.array([0.5]), crowd, crowd), crowd)


def crowding(*images, num_classes=2):
    everything = tabulate(images, num_classes)
    ranking = coco_ranking(everything, outcome_at_50(everything), everything.groundtruth.crowd)
    return rows_of(by_crowding(everything, ranking))


def by_name(*images, num_classes=2):
    everything = tabulate(images, num_classes)
    return by_image(everything, outcome_at_50(everything)[0], everything.groundtruth.crowd)


def test_sizes():
    one = image([(A, 0), (MEDIUM, 0), (SMALL, 0), (SMALL, 1)], [(A, 0, 0.9), (SMALL, 0, 0.8)])
    assert sizes(one) == {
        "small": (2, 0.5, pytest.approx(0.5)),  # the one of class 0
        "medium": (1, 0, 0),
        "large": (1, 1, pytest.approx(1)),
    }


def test_what_finds_nothing_is_wrong_in_the_group_of_its_own_size():
    one = image([(A, 0), (SMALL, 0)], [(MEDIUM, 0, 0.9), (A, 0, 0.8), (SMALL, 0, 0.7)])
    assert [row[2] for row in sizes(one).values()] == [pytest.approx(1), None, pytest.approx(1)]
    one = image([(A, 0), (SMALL, 0)], [(B, 0, 0.9), (A, 0, 0.8), (SMALL, 0, 0.7)])
    assert [row[2] for row in sizes(one).values()] == [pytest.approx(1), None, pytest.approx(0.5)]


def test_a_size_on_the_border_belongs_to_both():
    one = image([([0, 0, 32, 32], 0)])
    assert [row[0] for row in sizes(one).values()] == [1, 1, 0]


@pytest.mark.parametrize("seed", range(6))
def test_sizes_agree_with_coco(seed):
    images = random_images(seed, number=8)
    averages = box_averages(images, 5)
    expected = [mean(averages.precision[0, :, size]) for size in (1, 2, 3)]
    assert any(expected)
    found = sizes(*images, num_classes=5).values()
    assert [row[2] for row in found] == expected


def test_aspects():
    # 100 x 50 is tall, 50 x 100 wide, 100 x 100 neither; of the tall nothing is found.
    one = image([(TALL, 0), (WIDE, 0), (B, 0)], [(WIDE, 0, 0.9), (B, 0, 0.8)])
    assert aspects(one) == {
        "tall": (1, 0, 0),
        "square-ish": (1, 1, pytest.approx(1)),
        "wide": (1, 1, pytest.approx(1)),
    }


def test_one_and_a_half_times_is_square_still():
    assert aspects(image([([0, 0, 60, 40], 0), ([0, 0, 40, 60], 0)]))["square-ish"][0] == 2


def test_boxes_without_area_have_a_shape_too():
    line, point = [0, 0, 0, 10], [5, 5, 5, 5]
    assert [row[0] for row in aspects(image([(line, 0), (point, 0)])).values()] == [0, 1, 1]


def test_crowding():
    several = [([0, 20 * i, 100, 20 * i + 10], 0) for i in range(6)]
    found = crowding(
        image([(A, 0)], [(A, 0, 0.5)], name="alone"),
        image(several, [(*several[0], 0.9), (*several[1], 0.8), (*several[2], 0.7)], name="six"),
        image([(A, 0), (B, 0)], [(FAR, 0, 0.9), (A, 0, 0.8), (B, 0, 0.7)], name="two"),
        image(found=[(A, 0, 0.99)], name="none"),
    )
    assert found == {
        "1 object": (1, 1, pytest.approx(1)),
        "2 to 5 objects": (2, 1, pytest.approx(2 / 3)),  # wrong, right, right
        "6 to 15 objects": (6, 0.5, pytest.approx(51 / 101)),
        "16 objects or more": (0, None, None),
    }


def test_crowds_are_no_objects():
    one = image([(A, 0), (B, 0)], crowd=[1])
    assert crowding(one)["1 object"][0] == 1


def test_images():
    found = by_name(
        image([(A, 0)], [(A, 0, 0.9)], name="a"),
        image([(A, 0), (B, 1)], [(A, 0, 0.9), (FAR, 1, 0.8), (B, 1, 0.7)], name="b"),
        image(found=[(A, 0, 0.9)], name="c"),
        image([(A, 1)], name="d"),
    )
    # In b class 0 has 1 and class 1 has 1/2; in c there is nothing to find.
    np.testing.assert_allclose(found, [1, 0.75, np.nan, 0])


@pytest.mark.parametrize("seed", range(4))
def test_an_image_by_itself_has_the_same_number(seed):
    images = random_images(seed)
    alone = [coco_metrics([one], 5)["DetectionBoxes_Precision/mAP@.50IOU"] for one in images]
    together = by_name(*images, num_classes=5)
    np.testing.assert_allclose(np.nan_to_num(together, nan=-1), alone, atol=1e-6)
