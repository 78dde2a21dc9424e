import numpy as np
import pytest

from boxtune.metrics.calibration import calibration
from boxtune.metrics.matching import IGNORED, RIGHT, WRONG


def measured(*detections):
    score, outcome = zip(*detections, strict=True) if detections else ((), ())
    return calibration(np.array(score, float), np.array(outcome, int))


def test_bins():
    found = measured((0.95, RIGHT), (1.0, WRONG), (0.91, RIGHT), (0.2, WRONG), (0.0, WRONG))
    assert [one.count for one in found.bins] == [1, 0, 1, 0, 0, 0, 0, 0, 0, 3]
    assert (found.bins[0].low, found.bins[-1].high) == (0, 1)
    assert found.bins[-1].mean_score == pytest.approx((0.95 + 1 + 0.91) / 3)
    assert found.bins[-1].precision == pytest.approx(2 / 3)
    assert (found.bins[1].mean_score, found.bins[1].precision) == (None, None)


def test_scores_on_a_border_belong_to_the_upper_bin():
    # As float32 some tenths are a little less.
    found = calibration(np.arange(1, 10, dtype=np.float32) / np.float32(10), np.full(9, RIGHT))
    assert [one.count for one in found.bins] == [0] + [1] * 9


def test_error():
    # At 0.75 one of two is right, at 0.25 none of two: (2 x 0.25 + 2 x 0.25) / 4.
    found = measured((0.75, RIGHT), (0.75, WRONG), (0.25, WRONG), (0.25, WRONG))
    assert found.error == pytest.approx(0.25)


def test_a_calibrated_detector_has_no_error():
    found = measured(*[(0.75, RIGHT)] * 3, (0.75, WRONG))
    assert found.error == pytest.approx(0)


def test_the_ignored_do_not_count():
    assert measured((0.5, RIGHT), (0.9, IGNORED)) == measured((0.5, RIGHT))


@pytest.mark.parametrize(
    "detections", [[], [(0.5, IGNORED)], [(1.1, RIGHT), (0.5, RIGHT)], [(-0.1, WRONG), (0.5, RIGHT)]]
)
def test_no_calibration_without_probabilities(detections):
    found = measured(*detections)
    assert (found.error, found.bins) == (None, [])


def test_chance_is_found_calibrated():
    chance = np.random.default_rng(0)
    score = chance.random(20_000)
    right = np.where(chance.random(20_000) < score, RIGHT, WRONG)
    assert calibration(score, right).error < 0.02
    assert calibration(score**2, right).error == pytest.approx(1 / 2 - 1 / 3, abs=0.02)
