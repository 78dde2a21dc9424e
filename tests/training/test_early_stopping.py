import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxtune.errors import ConfigError
from boxtune.metrics.coco import NAMES
from boxtune.training.early_stopping import EarlyStopping, full_name

MAP, LOSS = "DetectionBoxes_Precision/mAP", "Loss/total_loss"
KNOWN = [*NAMES, LOSS]


def stopping(*values, metric=MAP, **options):
    """Return the early stopping after evaluations at steps 100, 200, ..."""
    return EarlyStopping(metric, [(100 * i, value) for i, value in enumerate(values, start=1)], **options)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("mAP", MAP),
        ("map", MAP),
        (MAP, MAP),
        ("AP50", "DetectionBoxes_Precision/mAP@.50IOU"),
        ("mAP@.50IOU", "DetectionBoxes_Precision/mAP@.50IOU"),
        ("AR@100", "DetectionBoxes_Recall/AR@100"),
        ("loss", LOSS),
        ("total_loss", LOSS),
    ],
)
def test_names(given, meant):
    assert full_name(given, KNOWN) == meant


def test_a_mistyped_name_gets_the_nearest_as_a_hint():
    with pytest.raises(ConfigError, match=r'no metric "AP500".*Did you mean "AP50"\? There are mAP, AP50'):
        full_name("AP500", KNOWN)


def test_a_short_name_of_a_metric_that_is_not_computed():
    with pytest.raises(ConfigError, match='no metric "loss"'):
        full_name("loss", NAMES)


@pytest.mark.parametrize(
    ("values", "metric", "best"),
    [
        ([], MAP, None),
        ([0.2, 0.5, 0.4], MAP, (200, 0.5)),
        ([0.5, 0.5], MAP, (100, 0.5)),  # of equals the first
        ([3.0, 1.0, 2.0], LOSS, (200, 1.0)),  # of losses the lowest
        ([-1.0, 0.0], MAP, (200, 0.0)),  # no such objects at first
        ([-1.0, -1.0, -1.0], MAP, (300, -1.0)),  # none at all: the last
        ([-1.0, 0.2, -1.0], MAP, (200, 0.2)),
        ([-2.0, -3.0], LOSS, (200, -3.0)),  # a loss below 0 is one
        ([math.nan, 0.1], MAP, (200, 0.1)),
        ([math.nan, 9.0], LOSS, (200, 9.0)),
    ],
)
def test_the_best(values, metric, best):
    assert stopping(*values, metric=metric).best == best


def test_an_improvement_is_better_than_all_before():
    assert stopping().improves(0.0)
    assert stopping(0.2, 0.5, 0.4).improves(0.51)
    assert not stopping(0.2, 0.5, 0.4).improves(0.5)
    assert not stopping(0.2).improves(math.nan)
    assert stopping(2.0, metric=LOSS).improves(1.9)
    assert stopping(-1.0).improves(-1.0)  # nothing to choose by: the later one
    assert not stopping(-1.0, 0.1).improves(-1.0)


@pytest.mark.parametrize(
    ("values", "min_delta", "waited"),
    [
        ([], 0, 0),
        ([0.1], 0, 0),
        ([0.1, 0.1], 0, 1),  # no better is no progress
        ([0.1, 0.3, 0.2, 0.3, 0.2], 0, 3),
        ([0.1, 0.3, 0.2, 0.31, 0.2], 0, 1),
        # By 0.1 above 0.1: 0.15 is none, 0.25 is; then 0.3 is not above 0.25 + 0.1.
        ([0.1, 0.15, 0.25, 0.3], 0.1, 1),
        # Small steps add up: each is compared with what the last progress reached.
        ([0.1, 0.16, 0.22, 0.28], 0.1, 1),
        ([math.nan, -1.0, -1.0], 0, 0),  # nothing was measured, so nothing was no better
        ([0.2, -1.0, 0.1], 0, 1),
    ],
)
def test_evaluations_since_the_last_improvement(values, min_delta, waited):
    assert stopping(*values, min_delta=min_delta).waited == waited


def test_a_loss_improves_by_falling():
    assert stopping(3.0, 2.0, 2.5, metric=LOSS).waited == 1


def test_the_patience_runs_out():
    values = [0.3, 0.2, 0.1]
    assert not stopping(*values, patience=3).exhausted
    assert stopping(*values, patience=2).exhausted
    assert not stopping(*values).exhausted
    assert not stopping(patience=1).exhausted


@given(st.lists(st.sampled_from([-1.0, 0.0, 0.25, 0.5, 0.75, math.nan]), max_size=12))
def test_the_last_improvement_is_the_best(values):
    grown, kept = stopping(), None
    for step, value in enumerate(values):
        if grown.improves(value):
            kept = (step, value)
        grown.history.append((step, value))
    assert repr(kept) == repr(grown.best)


def test_shown_in_a_line():
    assert str(stopping()) == ""
    assert str(stopping(0.2, 0.5)) == "mAP 0.500 at 200"
    assert str(stopping(0.2, 0.5, 0.4)) == "mAP 0.400 at 300, best 0.500 at 200"
    assert str(stopping(-1.0)) == "mAP not measured at 100"
