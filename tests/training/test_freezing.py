import keras
import numpy as np
import pytest

from boxtune.errors import ConfigError
from boxtune.training.build import freeze
from boxtune.training.run_state import RunState
from small_detector import batch, small_detector, values

BACKBONE = "model/_feature_extractor/classification_backbone/"


@pytest.fixture(scope="module")
def keys():
    return list(small_detector().trained_variables())


def trained(detector, *, never=(), only=()):
    freeze(detector, freeze_variables=never, update_trainable_variables=only)
    return set(detector.trained_variables())


def test_nothing_is_frozen_by_default(keys):
    assert trained(small_detector()) == set(keys)


def test_an_expression_is_found_anywhere(keys):
    left = trained(small_detector(), never=["classification_backbone.*kernel$", "gamma"])
    assert left == {
        key for key in keys
        if not (key.startswith(BACKBONE) and key.endswith("kernel")) and not key.endswith("gamma")
    }  # fmt: skip
    assert any(key.startswith(BACKBONE) for key in left)


def test_only_what_is_named_is_trained_less_what_is_frozen(keys):
    left = trained(small_detector(), only=["_box_predictor", "beta$"], never=["bias"])
    assert left == {
        key for key in keys if ("_box_predictor" in key and "bias" not in key) or key.endswith("beta")
    }
    assert left


def test_frozen_bytes_stay_equal():
    detector = small_detector()
    frozen = freeze(detector, freeze_variables=[BACKBONE], update_trainable_variables=())
    before = values(detector.checkpoint_variables())
    for _ in range(3):
        detector.train_on_batch(batch(0, 2))
    after = values(detector.checkpoint_variables())
    assert frozen
    for key in frozen:
        assert after[key].tobytes() == before[key].tobytes(), key
    for key in detector.trained_variables():
        assert not np.array_equal(after[key], before[key]), key
    # As in the API, statistics move on; that is another field's business.
    moved = [
        key for key in before if key.startswith(BACKBONE) and not np.array_equal(after[key], before[key])
    ]
    assert {key.rpartition("/")[2] for key in moved} == {"moving_mean", "moving_variance"}


def test_with_batchnorm_frozen_too_a_backbone_is_left_alone():
    detector = small_detector(freeze_batchnorm=True)
    freeze(detector, freeze_variables=[BACKBONE], update_trainable_variables=())
    before = values(detector.checkpoint_variables())
    detector.train_on_batch(batch(0, 2))
    after = values(detector.checkpoint_variables())
    assert all(after[key].tobytes() == before[key].tobytes() for key in before if key.startswith(BACKBONE))


def test_the_loss_is_that_of_the_whole(tmp_path):
    whole, part = small_detector(), small_detector()
    freeze(part, freeze_variables=[BACKBONE], update_trainable_variables=())
    assert float(part.regularization_loss()) == float(whole.regularization_loss()) > 0


def test_an_unfrozen_run_resumes_with_its_optimizer(tmp_path, caplog):
    detector = small_detector()
    freeze(detector, freeze_variables=[BACKBONE], update_trainable_variables=())
    detector.compile(keras.optimizers.SGD(0.01, momentum=0.9), jit_compile=False)
    state = RunState(tmp_path, detector, 5)
    detector.train_on_batch(batch(0, 2))
    state.save()
    thawed = RunState(tmp_path, small_detector(seed=1), 5)
    thawed.resume()
    assert 0 < len(state.optimizer_variables) < len(thawed.optimizer_variables)
    missing = len(thawed.optimizer_variables) - len(state.optimizer_variables)
    assert (
        f"lacks {missing} of the {len(thawed.optimizer_variables)} variables of this optimizer" in caplog.text
    )
    for key, variable in state.optimizer_variables.items():
        np.testing.assert_array_equal(thawed.optimizer_variables[key], variable, err_msg=key)


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ({"never": ["FeatureExtractor"]}, 'matches no trained variable. Did you mean "_feature_extractor"'),
        ({"never": ["nonsense"]}, "Keys start with model/_box_predictor/_prediction_heads, model/"),
        ({"only": ["nonsense"]}, 'update_trainable_variables: "nonsense" matches no trained variable'),
        ({"never": ["gamma", "moving_mean"]}, "matches only statistics, which are not trained; freeze"),
        ({"never": ["(a"]}, '"\\(a" is not a regular expression: missing \\), unterminated subpattern'),
        ({"never": [""]}, "leave nothing to train"),
        ({"only": ["gamma"], "never": ["gamma$"]}, "leave nothing to train"),
    ],
)  # fmt: skip
def test_invalid_patterns_are_refused(patterns, message):
    with pytest.raises(ConfigError, match=message):
        trained(small_detector(), **patterns)
