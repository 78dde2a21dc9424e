import numpy as np
import pytest

from boxtune.metrics.curves import best_threshold, curve, curves, thinned
from boxtune.metrics.matching import match, outcomes
from boxtune.metrics.tables import near_pairs, tabulate
from hand_drawn import FAR, A, B, image


def test_curve():
    # Right, wrong, right of 4 objects.
    drawn = curve(np.array([0.3, 0.9, 0.6]), np.array([True, True, False]), 4)
    assert drawn.score.tolist() == [0.9, 0.6, 0.3]
    assert drawn.precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert drawn.recall.tolist() == [0.25, 0.25, 0.5]
    # 2 p r / (p + r)
    assert drawn.f1.tolist() == pytest.approx([0.4, 1 / 3, 4 / 7])


def test_equal_scores_come_in_together():
    drawn = curve(np.array([0.5, 0.5, 0.5]), np.array([True, False, True]), 2)
    assert (drawn.score.tolist(), drawn.recall.tolist()) == ([0.5], [1])
    assert drawn.precision.tolist() == pytest.approx([2 / 3])


def test_best_threshold():
    best = best_threshold(curve(np.array([0.9, 0.6, 0.3]), np.array([True, False, True]), 4))
    assert (best.score, best.recall) == (0.3, 0.5)
    assert (best.precision, best.f1) == pytest.approx((2 / 3, 4 / 7))


def test_of_equal_f1_the_higher_threshold_is_best():
    # F1 is 2 hits / (found + objects): 2/3 after the first, 4/6 after the fourth.
    best = best_threshold(curve(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, False, True]), 2))
    assert best.score == 0.9


@pytest.mark.parametrize(("wanted", "score"), [(0.0, 0.3), (0.6, 0.3), (2 / 3, 0.3), (0.7, 0.9), (1.0, 0.9)])
def test_best_threshold_of_a_precision(wanted, score):
    # Precision 1, 1/2, 2/3 and F1 0.4, 1/3, 4/7.
    drawn = curve(np.array([0.9, 0.6, 0.3]), np.array([True, False, True]), 4)
    assert best_threshold(drawn, wanted).score == score


def test_no_threshold_has_the_precision():
    assert best_threshold(curve(np.array([0.9, 0.6]), np.array([False, True]), 4), 0.6) is None


@pytest.mark.parametrize(("right", "objects"), [([False], 3), ([], 3), ([False], 0)])
def test_no_threshold_where_nothing_right_is_found(right, objects):
    drawn = curve(np.full(len(right), 0.5), np.array(right, bool), objects)
    assert best_threshold(drawn) is None


def test_curves_leave_out_the_ignored():
    one = image([(A, 0), (B, 1)], [(A, 0, 0.9), (B, 1, 0.8), (FAR, 0, 0.7)], difficult=[0])
    everything = tabulate([one], 3)
    ignored = everything.groundtruth.ignored
    matched = match(everything, near_pairs(everything), np.array([0.5]), ignored, ignored)
    first, second, third = curves(everything, outcomes(matched, ignored)[0], ignored)
    assert len(first.score) == 0  # its only object is difficult
    assert (second.score.tolist(), second.precision.tolist()) == (pytest.approx([0.8]), [1])
    assert len(third.score) == 0


def test_thinned_keeps_ends_and_best():
    chance = np.random.default_rng(0)
    score = np.sort(chance.random(5000))[::-1]
    whole = curve(score, chance.random(5000) < score**2, 2000)
    thin = thinned(whole)
    assert 100 < len(thin.score) <= 200
    assert (thin.score[0], thin.score[-1]) == (whole.score[0], whole.score[-1])
    assert best_threshold(thin) == best_threshold(whole)
    assert np.diff(thin.recall).max() < 0.02
    assert (np.diff(thin.score) < 0).all()


def test_short_curves_stay():
    short = curve(np.array([0.9, 0.6]), np.array([True, False]), 1)
    assert thinned(short) is short
