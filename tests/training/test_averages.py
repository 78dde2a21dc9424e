import keras
import numpy as np
import pytest
import tensorflow as tf

from boxtune.config import pipeline_pb2
from boxtune.errors import CheckpointError
from boxtune.training import averages, checkpoints
from boxtune.training.averages import Averages, decay_of_step
from boxtune.training.run_state import RunState
from small_detector import assert_same, batch, small_detector, values


def variable(*numbers):
    return keras.Variable(np.float32(numbers))


@pytest.mark.parametrize(
    ("decay", "step", "kept"),
    [
        (0.9999, 1, 2 / 11),
        (0.9999, 90, 91 / 100),
        (0.9, 90, 0.9),  # never above the decay that was asked for
        (0.9999, 10**6, 0.9999),
    ],
)
def test_decay(decay, step, kept):
    assert decay_of_step(decay, step) == pytest.approx(kept, rel=1e-6)


def test_averages_start_at_0_and_follow():
    weight = variable(11.0)
    kept = Averages({"model/w": weight}, 0.5)
    (average,) = kept.variables.values()
    kept.update(1)
    assert average.numpy() == pytest.approx(9)  # 2/11 of 0 and 9/11 of 11
    weight.assign([1.0])
    kept.update(2)
    assert average.numpy() == pytest.approx(3)  # 3/12 of 9 and 9/12 of 1
    kept.update(100)
    assert average.numpy() == pytest.approx(2)  # half of each


def test_swapped_in_and_back_to_the_last_bit():
    weight = variable(0.1, 1e-30, -7.0)
    before = weight.numpy()
    kept = Averages({"model/w": weight}, 0.5)
    kept.update(1)
    with kept.swapped_in():
        np.testing.assert_array_equal(
            weight.numpy(), *(average.numpy() for average in kept.variables.values())
        )
        assert not np.array_equal(weight.numpy(), before)
    assert weight.numpy().tobytes() == before.tobytes()


def test_swapped_back_after_an_error():
    weight = variable(3.0)
    with pytest.raises(KeyboardInterrupt), Averages({"model/w": weight}, 0.5).swapped_in():
        raise KeyboardInterrupt
    assert weight.numpy() == 3


def test_without_variables_nothing_happens():
    nothing = Averages({}, 0.0)
    nothing.update(1)
    with nothing.swapped_in():
        assert nothing.variables == {}


def test_trained_variables_are_averaged():
    detector = small_detector()
    section = pipeline_pb2.Optimizer(moving_average_decay=0.25)
    kept = averages.averages(section, detector)  # by default there are averages
    assert kept.decay == 0.25
    assert len(kept.variables) == len(detector.trainable_variables)
    assert not any("moving_mean" in key for key in kept.variables)
    section.use_moving_average = False
    assert averages.averages(section, detector).variables == {}


@pytest.fixture
def averaged(tmp_path):
    """Two steps of a run with averages, saved."""
    detector = small_detector()
    kept = Averages(detector.trained_variables(), 0.9999)
    state = RunState(tmp_path, detector, 5, averages=kept)
    for step in (1, 2):
        detector.train_on_batch(batch(0, 2))
        kept.update(step)
    state.save()
    return state


def test_a_resumed_run_has_its_averages(averaged, tmp_path):
    detector = small_detector(seed=1)
    again = RunState(tmp_path, detector, 5, averages=Averages(detector.trained_variables(), 0.9999))
    again.resume()
    assert_same(values(again.averages.variables), values(averaged.averages.variables))


def test_a_run_without_averages_starts_from_its_weights(averaged, tmp_path, caplog):
    detector = small_detector(seed=1)
    RunState(tmp_path / "other", detector, 5).save()
    kept = Averages(detector.trained_variables(), 0.9999)
    RunState(tmp_path / "other", detector, 5, averages=kept).resume()
    assert "lacks averages of the weights: they start anew from the weights" in caplog.text
    with_averages = {averages.key_of_average(key): w for key, w in detector.trained_variables().items()}
    assert_same(values(kept.variables), values(with_averages))


def test_averages_are_loaded_for_evaluation(averaged, tmp_path):
    detector = small_detector(seed=1)
    averages.load(detector, checkpoints.find(tmp_path), averaged=True)
    loaded = values(detector.checkpoint_variables())
    with averaged.averages.swapped_in():
        assert_same(loaded, values(averaged.model_variables))
    averages.load(detector, checkpoints.find(tmp_path), averaged=False)
    as_they_are = values(detector.checkpoint_variables())
    assert_same(as_they_are, values(averaged.model_variables))
    assert any(not np.array_equal(loaded[key], value) for key, value in as_they_are.items())


def test_averages_of_the_api(tmp_path):
    # There they are slots of the optimizer, kept under the keys of the variables.
    source, random_values = small_detector(), {}
    slots = tf.compat.v1.train.MomentumOptimizer(0.1, 0.9)
    for key, weight in source.trained_variables().items():
        random_values[key] = (
            np.random.default_rng(len(random_values)).normal(size=weight.shape).astype(np.float32)
        )
        slots._zeros_slot(weight.value, "average", "EMA").assign(random_values[key])
    tree = checkpoints.tree(source.checkpoint_variables())
    prefix = tf.train.Checkpoint(model=tree.model, optimizer=slots).write(str(tmp_path / "ckpt-1"))
    detector = small_detector(seed=1)
    averages.load(detector, prefix, averaged=True)
    assert_same(values(detector.trained_variables()), random_values)


def test_a_checkpoint_without_averages(tmp_path):
    detector = small_detector()
    RunState(tmp_path, detector, 5).save()
    with pytest.raises(CheckpointError, match="ckpt-1: holds no averages of its weights"):
        averages.load(detector, checkpoints.find(tmp_path), averaged=True)


def test_averages_of_another_shape(tmp_path):
    detector = small_detector()
    wrong = {averages.key_of_average(key): variable(1, 2, 3) for key in detector.trained_variables()}
    prefix = checkpoints.tree(detector.checkpoint_variables() | wrong).write(str(tmp_path / "ckpt-1"))
    with pytest.raises(CheckpointError, match=r"ckpt-1: moving_averages/.* has the shape \[3\]"):
        averages.load(detector, prefix, averaged=True)
