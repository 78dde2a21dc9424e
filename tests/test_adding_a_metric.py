"""The metric that CONTRIBUTING.md adds is one: it is computed and named like all others."""

import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from boxtune.metrics import metric_sets
from boxtune.metrics.results import ImageResult
from boxtune.training.early_stopping import full_name

CONTRIBUTING = Path(__file__).parent.parent / "CONTRIBUTING.md"


def image(name, scores, num_objects):
    """An image with detections of these scores, and objects elsewhere."""
    return ImageResult(
        name=name,
        height=10,
        width=10,
        groundtruth_boxes=np.tile([0.0, 0.0, 4.0, 4.0], (num_objects, 1)),
        groundtruth_classes=np.zeros(num_objects, int),
        is_crowd=np.zeros(num_objects, bool),
        boxes=np.tile([5.0, 5.0, 9.0, 9.0], (len(scores), 1)),
        classes=np.zeros(len(scores), int),
        scores=np.array(scores),
    )


@pytest.fixture
def added(monkeypatch):
    """The file and the line of the registry that CONTRIBUTING.md adds; return the name of the set."""
    text = CONTRIBUTING.read_text(encoding="utf-8")
    name, module_name = re.search(r'`"(\w+)": "(\w+)",`', text).groups()
    module = ModuleType(f"boxtune.metrics.{module_name}")
    exec(re.search(r"```python\n(.+?)```", text, re.DOTALL)[1], vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(metric_sets._OTHERS, name, module_name)
    monkeypatch.setattr(metric_sets, "METRIC_SETS", (*metric_sets.METRIC_SETS, name))
    return name


def test_it_is_computed(added):
    # Two detections for two objects, and one for three.
    results = [image("a", [0.9, 0.5, 0.4], 2), image("b", [0.7], 3)]
    assert metric_sets.measure([added], results, ["cat"]) == {"Counting/accuracy": 0.5}


def test_it_may_choose_the_best_checkpoint(added):
    tags = metric_sets.tags([added], ["cat"])
    assert full_name("accuracy", tags) == "Counting/accuracy"


def test_a_mistyped_name_gets_it_as_a_hint(added):
    with pytest.raises(metric_sets.ConfigError, match='Did you mean "counting_metrics"'):
        metric_sets.check_names(["counting_metric"])
