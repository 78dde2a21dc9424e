import keras
import numpy as np
import pytest
import tensorflow as tf

from boxtune.errors import CheckpointError
from boxtune.training import checkpoints
from boxtune.training.run_state import RunState
from small_detector import INPUTS, assert_same, small_detector

OPTIMIZERS = {
    "momentum": lambda: keras.optimizers.SGD(0.01, momentum=0.9),
    "adam": lambda: keras.optimizers.Adam(0.001),
    "rms_prop": lambda: keras.optimizers.RMSprop(0.001, momentum=0.9),
}


def build(make_optimizer=OPTIMIZERS["momentum"], **options):
    return small_detector(make_optimizer(), **options)


def everything(state):
    """Return the value of every variable of a run by its key."""
    variables = state.model_variables | state.optimizer_variables
    return {key: variable.numpy() for key, variable in variables.items()} | {"step": state.step}


def make_up(state, step):
    """Give every variable of a run a random value, as if `step` steps had been made."""
    for variable in (state.model_variables | state.optimizer_variables).values():
        variable.assign(keras.random.uniform(variable.shape))
    state.iterations.assign(step)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["adam", "rms_prop"])
def test_a_run_resumes_where_it_stopped(tmp_path, name):
    state = RunState(tmp_path, build(OPTIMIZERS[name]), 5)
    assert state.optimizer_variables
    make_up(state, 41)
    prefix = state.save()
    again = RunState(tmp_path, build(OPTIMIZERS[name], seed=1), 5)
    assert again.resume() == prefix == str(tmp_path / "ckpt-1")
    assert again.step == 41
    assert_same(everything(again), everything(state))


def test_the_next_steps_are_those_of_an_uninterrupted_run(tmp_path):
    detector = build()
    state = RunState(tmp_path, detector, 5)
    detector.train_on_batch(INPUTS)
    state.save()
    detector.train_on_batch(INPUTS)
    other = build(seed=1)
    resumed = RunState(tmp_path, other, 5)
    resumed.resume()
    assert resumed.step == 1
    other.train_on_batch(INPUTS)
    assert (state.step, resumed.step) == (2, 2)
    assert_same(everything(resumed), everything(state))


def test_a_new_folder(tmp_path):
    state = RunState(tmp_path, build(), 5)
    assert state.resume() is None
    assert state.step == 0
    assert list(tmp_path.iterdir()) == []


def test_the_newest_are_kept(tmp_path):
    detector = build()
    state = RunState(tmp_path, detector, 2)
    for step in (10, 20, 30):
        make_up(state, step)
        state.save()
    assert {path.name for path in tmp_path.glob("*.index")} == {"ckpt-2.index", "ckpt-3.index"}
    # A run that goes on counts on, and takes away the oldest of those it found.
    again = RunState(tmp_path, detector, 2)
    again.resume()
    make_up(again, 40)
    assert again.save() == str(tmp_path / "ckpt-4")
    assert {path.name for path in tmp_path.glob("*.index")} == {"ckpt-3.index", "ckpt-4.index"}
    assert checkpoints.find(tmp_path) == str(tmp_path / "ckpt-4")


def test_a_folder_of_another_model_is_left_alone(tmp_path):
    RunState(tmp_path, build(), 5).save()
    before = files(tmp_path)
    detector = build(width=12)
    state = RunState(tmp_path, detector, 5)
    fresh = everything(state)
    with pytest.raises(CheckpointError) as caught:
        state.resume()
    assert f"{tmp_path} holds another model" in str(caught.value)
    assert "of another shape" in str(caught.value)
    assert "Give another --model_dir" in str(caught.value)
    assert files(tmp_path) == before
    assert_same(everything(state), fresh)


def test_another_optimizer_starts_anew(tmp_path):
    state = RunState(tmp_path, build(OPTIMIZERS["momentum"]), 5)
    make_up(state, 7)
    state.save()
    again = RunState(tmp_path, build(OPTIMIZERS["adam"], seed=1), 5)
    fresh = {key: variable.numpy() for key, variable in again.optimizer_variables.items()}
    again.resume()
    assert again.step == 7
    assert_same({key: variable.numpy() for key, variable in again.optimizer_variables.items()}, fresh)
    assert_same(
        {key: variable.numpy() for key, variable in again.model_variables.items()},
        {key: variable.numpy() for key, variable in state.model_variables.items()},
    )


def test_the_model_and_the_step_have_the_keys_of_the_api(tmp_path):
    state = RunState(tmp_path, build(), 5)
    prefix = state.save()
    stored = {name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE") for name, _ in tf.train.list_variables(prefix)}
    of_the_api = {name for name in stored if not name.startswith("optimizer/")}
    assert of_the_api == {*state.model_variables, "step", "save_counter", "_CHECKPOINTABLE_OBJECT_GRAPH"}


def test_a_checkpoint_of_the_api(tmp_path):
    # There `step` is an integer, and the optimizer keeps its slots beside the model's variables.
    source = build(seed=1)
    tree = checkpoints.tree(source.checkpoint_variables())
    slots = tf.compat.v1.train.MomentumOptimizer(0.1, 0.9)
    trained = source.trainable_variables[0].value
    slots.apply_gradients([(tf.zeros_like(trained), trained)])
    root = tf.train.Checkpoint(model=tree.model, optimizer=slots, step=tf.Variable(300, dtype=tf.int64))
    tf.train.CheckpointManager(root, str(tmp_path), 7).save()
    state = RunState(tmp_path, build(), 5)
    assert state.resume() == str(tmp_path / "ckpt-1")
    assert state.step == 300
    assert_same(
        {key: variable.numpy() for key, variable in state.model_variables.items()},
        {key: variable.numpy() for key, variable in source.checkpoint_variables().items()},
    )
    state.iterations.assign(301)
    assert state.save() == str(tmp_path / "ckpt-2")


def test_there_is_one_checkpoint_of_a_step(tmp_path):
    state = RunState(tmp_path, build(), 5)
    assert state.save() == state.save() == str(tmp_path / "ckpt-1")
    again = RunState(tmp_path, build(), 5)
    again.resume()
    assert again.save() == str(tmp_path / "ckpt-1")
    again.iterations.assign(1)
    assert again.save() == str(tmp_path / "ckpt-2")


def test_the_best_is_kept_beside_the_newest(tmp_path):
    state = RunState(tmp_path, build(), 5)
    for step in (10, 20):
        make_up(state, step)
        state.save()
        best = state.save_as_best()
    assert best == checkpoints.find(tmp_path / "best") == str(tmp_path / "best" / "ckpt-2")
    assert checkpoints.find(tmp_path) == str(tmp_path / "ckpt-2")
    assert {path.name for path in (tmp_path / "best").glob("*.index")} == {"ckpt-2.index"}
    reader = checkpoints.Reader(best)
    assert_same({key: reader[key] for key in state.model_variables}, {
        key: variable.numpy() for key, variable in state.model_variables.items()
    })  # fmt: skip


@pytest.mark.parametrize("part", ["model_variables", "optimizer_variables"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_never_written(tmp_path, part, value):
    state = RunState(tmp_path, build(), 5)
    state.save()
    before = files(tmp_path)
    state.iterations.assign(9)
    name, variable = list(getattr(state, part).items())[3]
    broken = variable.numpy()
    broken.flat[-1] = value
    variable.assign(broken)
    for save in (state.save, state.save_as_best):
        with pytest.raises(CheckpointError, match=f"Step 9: {name} is infinite or NaN") as caught:
            save()
        assert str(tmp_path / "ckpt-1") in str(caught.value)
    assert files(tmp_path) == before


def test_a_damaged_checkpoint(tmp_path):
    RunState(tmp_path, build(), 5).save()
    (tmp_path / "ckpt-1.index").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="ckpt-1: cannot be read as a checkpoint"):
        RunState(tmp_path, build(), 5).resume()
