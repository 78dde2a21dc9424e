import numpy as np
import pytest

from boxtune.metrics.average_precision import coco_ranking, mean, rank
from boxtune.metrics.bootstrap import (
    interval,
    num_images_with_objects,
    num_resamples,
    resampled,
    resamples,
)
from boxtune.metrics.matching import RIGHT, WRONG, coco_outcomes
from boxtune.metrics.tables import near_pairs, tabulate
from hand_drawn import A, image, random_images


def ranking_of(images, num_classes):
    everything = tabulate(images, num_classes)
    return coco_ranking(
        everything, coco_outcomes(everything, near_pairs(everything)), everything.groundtruth.crowd
    )


def test_resamples_draw_as_many_images_as_there_are():
    drawn = np.array(list(resamples(40, 500, seed=0)))
    assert drawn.shape == (500, 40)
    assert set(drawn.sum(axis=1)) == {40}
    # An image is left out with probability (1 - 1/40) ** 40.
    assert (drawn == 0).mean() == pytest.approx(0.975**40, abs=0.01)


def test_equal_seeds_draw_equal_images():
    ranking = ranking_of(random_images(0), 4)
    first, again, other = (resampled(ranking, 12, 20, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.AP, again.AP)
    assert not np.array_equal(first.AP, other.AP, equal_nan=True)


def test_means_are_over_classes_that_have_objects():
    drawn = resampled(ranking_of(random_images(1), 5), 12, 30, 0)
    assert np.isnan(drawn.AP[:, 4]).all()
    assert drawn.mean_AP.tolist() == pytest.approx([mean(row) for row in drawn.AP])
    assert drawn.mean_AP50.tolist() == pytest.approx([mean(row) for row in drawn.AP50])


def test_resamples_without_any_object_have_no_mean():
    images = [image([(A, 0)], [(A, 0, 0.9)], name="a"), image(name="b"), image(name="c")]
    means = resampled(ranking_of(images, 1), 3, 200, 0).mean_AP
    # All three draws miss the first image: 8 of 27.
    assert np.isnan(means).mean() == pytest.approx(8 / 27, abs=0.1)
    assert interval(means) == pytest.approx((1, 1))


@pytest.mark.parametrize("images", [[], [image()], [image(found=[(A, 0, 0.9)])]])
def test_without_objects_there_is_no_interval(images):
    drawn = resampled(ranking_of(images, 2), len(images), 10, 0)
    assert interval(drawn.mean_AP) is None
    assert interval(drawn.AP[:, 0]) is None


def test_interval():
    # 0, 1, ..., 1000: 2.5 % and 97.5 %.
    assert interval(np.append(np.arange(1001.0), np.nan)) == pytest.approx((25, 975))


def test_number_of_resamples():
    assert num_resamples(0) == num_resamples(800) == 1000
    assert num_resamples(200_000) == 500
    assert num_resamples(500_000) == num_resamples(10**9) == 200


def test_images_with_objects():
    images = [image([(A, 0), (A, 0), (A, 2)], name="a"), image([(A, 0)], name="b"), image(name="c")]
    assert num_images_with_objects(ranking_of(images, 3)).tolist() == [2, 0, 1]


def simulated(chance, num_images):
    """Two objects in each image; detections better scored the likelier they are right, which goes by image."""
    image = np.repeat(np.arange(num_images), 3)
    skill = chance.beta(4, 2, num_images)[image]
    right = chance.random(len(image)) < skill * np.tile([1, 1, 0], num_images)
    score = chance.normal(0, 1, len(image)) + 1.5 * right
    order = np.argsort(-score)
    outcome = np.where(right, RIGHT, WRONG)[None, order]
    objects = np.repeat(np.arange(num_images), 2)
    return rank((1, 1), image[order], np.zeros_like(image), outcome, objects, np.zeros_like(objects))


def test_intervals_hold_the_number_of_all_images_about_as_often_as_they_say():
    chance = np.random.default_rng(0)
    of_all = simulated(chance, 100_000).average_precision(np.ones(100_000, int))[0, 0]
    held = []
    for trial in range(100):
        low, high = interval(resampled(simulated(chance, 60), 60, 100, trial).mean_AP50)
        held.append(low <= of_all <= high)
    assert 0.88 <= np.mean(held) <= 1


def test_more_images_give_narrower_intervals():
    chance = np.random.default_rng(0)
    widths = []
    for number in (50, 800):
        low, high = interval(resampled(simulated(chance, number), number, 200, 0).mean_AP50)
        widths.append(high - low)
    # 16 times the images: a quarter of the width.
    assert widths[1] / widths[0] == pytest.approx(0.25, abs=0.08)
