import contextlib
import json
import math
from types import SimpleNamespace

import pytest

from boxtune.errors import DataError
from boxtune.metrics.results import Evaluation
from boxtune.training.early_stopping import EarlyStopping
from boxtune.training.validation import Best, Validation, keep_if_best, read_best, values_so_far
from image_results import image_result

MAP = "DetectionBoxes_Precision/mAP"


class State:
    """A run whose checkpoints are only counted."""

    def __init__(self, model_dir):
        self.model_dir, self.saved = model_dir, 0
        (model_dir / "best").mkdir()

    def save_as_best(self):
        self.saved += 1
        return str(self.model_dir / "best" / f"ckpt-{self.saved}")


def evaluation(step, value):
    return Evaluation(
        step=step, metrics={MAP: value}, losses={"Loss/total_loss": 2.0},
        results=[image_result()] * 40, class_names=("cat",), seconds=1.0,
    )  # fmt: skip


@pytest.fixture
def state(tmp_path):
    return State(tmp_path)


def test_only_what_is_better_is_kept(state):
    stopping = EarlyStopping(MAP)
    kept = [
        keep_if_best(evaluation(100 * i, value), stopping, state)
        for i, value in enumerate([0.2, 0.1, 0.4, 0.4], start=1)
    ]
    assert kept == [True, False, True, False]
    assert stopping.history == [(100, 0.2), (200, 0.1), (300, 0.4), (400, 0.4)]
    assert read_best(state.model_dir) == Best(
        metric=MAP, value=0.4, step=300, checkpoint="ckpt-2", num_images=40,
        values={MAP: 0.4, "Loss/total_loss": 2.0},
    )  # fmt: skip


@pytest.mark.parametrize("value", [math.nan, -1.0])
def test_where_nothing_was_measured_the_last_is_kept_and_its_value_is_null(state, value):
    stopping = EarlyStopping(MAP)
    assert [keep_if_best(evaluation(step, value), stopping, state) for step in (100, 200)] == [True, True]
    text = (state.model_dir / "best" / "best.json").read_text()
    assert "NaN" not in text
    assert (read_best(state.model_dir).value, read_best(state.model_dir).step) == (None, 200)


def test_none_yet(tmp_path):
    assert read_best(tmp_path) is None


@pytest.mark.parametrize("junk", ["", "junk", "[]", "{}", '{"metric": "mAP", "more": 1}'])
def test_a_damaged_file(state, junk):
    (state.model_dir / "best" / "best.json").write_text(junk)
    with pytest.raises(DataError, match=r"best\.json is not what a training wrote"):
        read_best(state.model_dir)


def test_values_so_far(state):
    evaluations = [(100, {MAP: 0.2}), (200, {"other": 1.0})]
    values = values_so_far(evaluations, MAP, state.model_dir)
    assert values[0] == (100, 0.2)
    assert values[1][0] == 200
    assert math.isnan(values[1][1])


def test_another_metric_starts_anew(state, caplog):
    keep_if_best(evaluation(100, 0.2), EarlyStopping(MAP), state)
    evaluations = [(100, {MAP: 0.2, "Loss/total_loss": 2.0})]
    assert values_so_far(evaluations, "Loss/total_loss", state.model_dir) == []
    assert "was chosen by DetectionBoxes_Precision/mAP: by Loss/total_loss" in caplog.text
    assert json.loads((state.model_dir / "best" / "best.json").read_text())["step"] == 100


@pytest.mark.parametrize("recalibrated", [True, False])
@pytest.mark.parametrize("averaged", [True, False])
def test_what_is_evaluated_and_what_is_kept(state, averaged, recalibrated):
    """Of averages the statistics are estimated; what is kept is the state of the run, with these statistics."""
    weights, statistics = {"now": "weights"}, {"now": "of training"}
    seen = []

    @contextlib.contextmanager
    def swapped_in():
        weights["now"] = "averages"
        yield
        weights["now"] = "weights"

    def evaluate(step):
        seen.append((weights["now"], statistics["now"]))
        return evaluation(step, 0.1)

    state.averages = SimpleNamespace(swapped_in=swapped_in)

    @contextlib.contextmanager
    def undone():
        yield
        statistics["now"] = "of training"

    def estimate():
        statistics["now"] = f"of {weights['now']}"

    recalibration = SimpleNamespace(undone=undone, estimate=estimate) if recalibrated else None
    state.save_as_best = lambda: seen.append((weights["now"], statistics["now"])) or "ckpt-1"
    evaluator = SimpleNamespace(records=[1], detector=SimpleNamespace(), evaluate=evaluate)
    journal = SimpleNamespace(has_evaluation=lambda step: False, add_evaluation=lambda found: None)
    progress = SimpleNamespace(show=lambda text: None, clear=lambda: None)
    validate = Validation(
        evaluator, EarlyStopping(MAP), state, journal, progress, lambda found: None, averaged, recalibration
    )
    validate(100)
    evaluated = "averages" if averaged else "weights"
    used = f"of {evaluated}" if recalibrated else "of training"
    assert seen == [(evaluated, used), ("weights", used)]
    assert statistics["now"] == "of training"


def test_validation_writes_the_journal_last(state, tmp_path):
    """A run that is killed before the journal has its line evaluates again; after that nothing may be missing."""
    order = []
    detector = SimpleNamespace(stop_training=False)
    evaluator = SimpleNamespace(records=[1], detector=detector, evaluate=lambda step: evaluation(step, 0.1))
    journal = SimpleNamespace(
        has_evaluation=lambda step: step == 50,
        add_evaluation=lambda found: order.append((found.step, (tmp_path / "best" / "best.json").exists())),
    )
    progress = SimpleNamespace(show=lambda text: None, clear=lambda: None, note="")
    validate = Validation(
        evaluator,
        EarlyStopping(MAP, patience=1),
        state,
        journal,
        progress,
        publish=lambda found: order.append("published"),
    )
    validate(50)
    assert order == []
    validate(100)
    assert order == ["published", (100, True)]
    assert not detector.stop_training
    validate(200)  # no better
    assert detector.stop_training
    assert progress.note == "mAP 0.100 at 200, best 0.100 at 100"
