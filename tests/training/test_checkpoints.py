import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from boxtune.errors import CheckpointError
from boxtune.training import checkpoints
from tf1_checkpoint import write_tf1

SHAPES = {"model/_a/b/0/kernel": (3, 3, 2, 4), "model/_a/b/0/bias": (4,), "model/_a/c/gamma": (5,)}


def variables(shapes=None, seed=0):
    rng = np.random.default_rng(seed)
    return {
        key: keras.Variable(rng.normal(size=shape).astype(np.float32))
        for key, shape in (SHAPES if shapes is None else shapes).items()
    }


def values(given):
    return {key: variable.numpy() for key, variable in given.items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        np.testing.assert_array_equal(value, other[key], err_msg=key)


@pytest.fixture
def written(tmp_path):
    """The prefix of a checkpoint of `variables()`."""
    return checkpoints.tree(variables()).write(str(tmp_path / "model" / "ckpt-3"))


class TestFind:
    @pytest.fixture
    def folder(self, tmp_path):
        """A folder with checkpoints 1 to 3, the second being the newest by its `checkpoint` file."""
        folder = tmp_path / "run"
        for number in (1, 2, 3):
            checkpoints.tree(variables()).write(str(folder / f"ckpt-{number}"))
        return folder

    def test_a_prefix(self, folder):
        assert checkpoints.find(folder / "ckpt-2") == str(folder / "ckpt-2")
        assert checkpoints.find(str(folder / "ckpt-2")) == str(folder / "ckpt-2")

    def test_an_index_file(self, folder):
        assert checkpoints.find(folder / "ckpt-2.index") == str(folder / "ckpt-2")

    def test_a_folder_has_its_highest_number(self, folder):
        checkpoints.tree(variables()).write(str(folder / "ckpt-10"))
        assert checkpoints.find(folder) == str(folder / "ckpt-10")

    def test_a_checkpoint_file_goes_before_numbers(self, folder):
        (folder / "checkpoint").write_text('model_checkpoint_path: "ckpt-2"\n')
        assert checkpoints.find(folder) == str(folder / "ckpt-2")

    def test_a_checkpoint_file_that_names_one_that_is_gone(self, folder):
        (folder / "checkpoint").write_text('model_checkpoint_path: "ckpt-7"\n')
        assert checkpoints.find(folder) == str(folder / "ckpt-3")

    def test_the_layout_of_the_zoo(self, tmp_path):
        prefix = checkpoints.tree(variables()).write(str(tmp_path / "zoo" / "checkpoint" / "ckpt-0"))
        assert checkpoints.find(tmp_path / "zoo") == prefix

    def test_a_folder_without_any(self, tmp_path):
        with pytest.raises(CheckpointError, match=r"no checkpoint here; a folder with ckpt-N\.index"):
            checkpoints.find(tmp_path)

    def test_did_you_mean(self, folder):
        with pytest.raises(CheckpointError, match=r'ckpt-22: no such checkpoint. Did you mean "ckpt-2"\?'):
            checkpoints.find(folder / "ckpt-22")

    def test_existing_ones_are_listed(self, folder):
        with pytest.raises(CheckpointError, match="That folder has ckpt-1, ckpt-2, ckpt-3"):
            checkpoints.find(folder / "x")

    def test_a_folder_that_is_not_there(self, tmp_path):
        with pytest.raises(CheckpointError, match=r"There is no folder .*nowhere"):
            checkpoints.find(tmp_path / "nowhere" / "ckpt-0")


class TestReader:
    def test_keys_shapes_and_values(self, written):
        reader = checkpoints.Reader(written)
        assert reader.shapes == SHAPES
        assert "model/_a/b/0/bias" in reader
        assert "model/_a/b/0/gamma" not in reader
        np.testing.assert_array_equal(reader["model/_a/b/0/bias"], variables()["model/_a/b/0/bias"].numpy())

    def test_no_such_file(self, tmp_path):
        with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
            checkpoints.Reader(str(tmp_path / "ckpt-0"))

    @pytest.mark.parametrize(
        "junk",
        [b"", b"junk", bytes(4096), np.random.default_rng(0).bytes(4096)],
        ids=["empty", "short", "zeros", "noise"],
    )
    def test_an_index_of_junk(self, tmp_path, junk):
        (tmp_path / "ckpt-0.index").write_bytes(junk)
        with pytest.raises(CheckpointError, match="ckpt-0: cannot be read as a checkpoint"):
            checkpoints.Reader(str(tmp_path / "ckpt-0"))

    def test_half_an_index(self, written):
        path = f"{written}.index"
        with open(path, "r+b") as file:
            file.truncate(os.path.getsize(path) // 2)
        with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
            checkpoints.Reader(written)

    def test_missing_data(self, written):
        os.remove(f"{written}.data-00000-of-00001")
        with pytest.raises(CheckpointError, match="ckpt-3"):
            checkpoints.load(variables(), written)

    def test_damaged_data(self, written):
        # A flipped byte is found by its checksum.
        path = f"{written}.data-00000-of-00001"
        with open(path, "r+b") as file:
            file.seek(8)
            byte = file.read(1)[0]
            file.seek(8)
            file.write(bytes([byte ^ 1]))
        given = variables(seed=1)
        before = values(given)
        with pytest.raises(CheckpointError, match="cannot be read"):
            checkpoints.load(given, written)
        assert_same(values(given), before)

    def test_a_checkpoint_of_tensorflow_1(self, tmp_path):
        weights = np.arange(3, dtype=np.float32)
        prefix = write_tf1(
            {"conv/weights": weights, "conv/weights/Momentum": weights}, tmp_path / "model.ckpt"
        )
        reader = checkpoints.Reader(checkpoints.find(tmp_path))
        assert reader.of_tensorflow_1
        assert reader.shapes == {"conv/weights": (3,), "conv/weights/Momentum": (3,)}
        reader.rename({"conv/weights": "model/conv/kernel", "conv/weights/Momentum": None})
        assert reader.shapes == {"model/conv/kernel": (3,)}
        assert "conv/weights" not in reader
        np.testing.assert_array_equal(reader["model/conv/kernel"], weights)
        with pytest.raises(
            CheckpointError, match=r"of TensorFlow 1.*give it as train_config.fine_tune_checkpoint"
        ):
            checkpoints.load(variables(), prefix)

    def test_variables_of_tensorflow_1_without_a_key(self, tmp_path):
        names = [f"v{number}" for number in range(6)]
        prefix = write_tf1({name: np.zeros(1, np.float32) for name in names}, tmp_path / "model.ckpt")
        with pytest.raises(
            CheckpointError, match=r"does not have: v1, v2, v3, v4 and 1 more\. Take the model"
        ):
            checkpoints.Reader(prefix).rename({"v0": "model/v0"})
        with pytest.raises(CheckpointError, match=r"several variables for one of the detector: v0 and v1"):
            checkpoints.Reader(prefix).rename({name: f"model/{name}" for name in names} | {"v0": "model/v1"})

    def test_a_checkpoint_of_one_file(self, tmp_path):
        prefix = write_tf1({"v": np.zeros(1, np.float32)}, tmp_path / "old.ckpt", in_one_file=True)
        expected = (
            r"old\.ckpt is a checkpoint of one file.*which makes old\.ckpt\.index and old\.ckpt\.data-\*"
        )
        with pytest.raises(CheckpointError, match=expected):
            checkpoints.find(prefix)
        (tmp_path / "no.ckpt").write_bytes(b"short")
        with pytest.raises(CheckpointError, match=r"no\.ckpt: no such checkpoint\.$"):
            checkpoints.find(tmp_path / "no.ckpt")

    def test_text_in_place_of_numbers(self, tmp_path):
        key, *_ = SHAPES
        stored = variables() | {key: tf.Variable(tf.fill(SHAPES[key], "x"))}
        prefix = checkpoints.tree(stored).write(str(tmp_path / "ckpt-1"))
        with pytest.raises(CheckpointError, match=f"{key} has values of the type string, not numbers"):
            checkpoints.load(variables(), prefix)

    @pytest.mark.shared
    def test_a_published_one(self, shared):
        reader = checkpoints.Reader(
            checkpoints.find(shared / "zoo" / "ssd_mobilenet_v2_320x320_coco17_tpu-8" / "ckpt-0")
        )
        assert sum(key.startswith("model/") for key in reader.shapes) == 324

    def test_slots_of_an_optimizer_are_not_variables_of_the_model(self, tmp_path):
        # As the API's own training leaves them: beside each variable, under its key.
        kernel = tf.Variable([1.0, 2.0])
        optimizer = tf.compat.v1.train.MomentumOptimizer(0.1, 0.9)
        optimizer.apply_gradients([(tf.ones(2), kernel)])
        prefix = tf.train.Checkpoint(
            model=tf.train.Checkpoint(kernel=kernel), optimizer=optimizer, step=tf.Variable(7)
        ).write(str(tmp_path / "ckpt-1"))
        assert any(".OPTIMIZER_SLOT" in name for name, _ in tf.train.list_variables(prefix))
        reader = checkpoints.Reader(prefix)
        assert {key for key in reader.shapes if key.startswith("model/")} == {"model/kernel"}
        assert not checkpoints.misfit({"kernel": keras.Variable(np.zeros(2))}, reader, "model/")
        assert checkpoints.step_of(prefix) == 7


class TestMisfit:
    def misfit(self, written, change):
        model = {key.removeprefix("model/"): variable for key, variable in variables(change).items()}
        return checkpoints.misfit(model, checkpoints.Reader(written), "model/")

    def test_none(self, written):
        difference = self.misfit(written, SHAPES)
        assert not difference
        assert str(difference) == ""

    def test_both_sides_are_listed(self, written):
        difference = self.misfit(
            written, {"model/_a/b/0/kernel": (1, 1, 2, 4), "model/_a/b/1/bias": (4,), "model/x": ()}
        )
        assert difference
        assert difference.missing == ["model/_a/b/1/bias", "model/x"]
        assert difference.unexpected == ["model/_a/b/0/bias", "model/_a/c/gamma"]
        assert difference.reshaped == ["model/_a/b/0/kernel [1, 1, 2, 4] [3, 3, 2, 4]"]
        assert str(difference) == (
            "the model has, the checkpoint lacks 2: model/_a/b/1/bias, model/x; "
            "the checkpoint has, the model lacks 2: model/_a/b/0/bias, model/_a/c/gamma; "
            "of another shape (model, checkpoint) 1: model/_a/b/0/kernel [1, 1, 2, 4] [3, 3, 2, 4]"
        )

    def test_long_lists_are_cut(self, written):
        difference = self.misfit(written, SHAPES | {f"model/x{number}": () for number in range(9)})
        assert str(difference) == (
            "the model has, the checkpoint lacks 9: model/x0, model/x1, model/x2, model/x3 and 5 more"
        )

    def test_other_prefixes_do_not_matter(self, tmp_path):
        prefix = checkpoints.tree(variables(SHAPES | {"step": ()})).write(str(tmp_path / "ckpt-1"))
        assert not self.misfit(prefix, SHAPES)


class TestLoad:
    def test_every_value(self, tmp_path):
        prefix = checkpoints.tree(variables(SHAPES)).write(str(tmp_path / "ckpt-1"))
        other = variables(SHAPES, seed=1)
        checkpoints.load(other, prefix)
        assert_same(values(other), values(variables(SHAPES)))

    @pytest.mark.parametrize(
        "change", [{"model/_z": (2,)}, {"model/_a/b/0/kernel": (1, 1, 2, 4)}], ids=["missing", "reshaped"]
    )
    def test_nothing_is_changed_unless_all_fit(self, tmp_path, change):
        prefix = checkpoints.tree(variables(SHAPES)).write(str(tmp_path / "ckpt-1"))
        given = variables(SHAPES | change, seed=1)
        before = values(given)
        with pytest.raises(CheckpointError, match="does not fit this model"):
            checkpoints.load(given, prefix)
        assert_same(values(given), before)


class TestTree:
    def test_keys_are_spelled_as_given(self, tmp_path):
        prefix = checkpoints.tree(variables(SHAPES)).write(str(tmp_path / "ckpt-1"))
        names = {name for name, _ in tf.train.list_variables(prefix)}
        assert names == {
            "_CHECKPOINTABLE_OBJECT_GRAPH",
            *(f"{key}/.ATTRIBUTES/VARIABLE_VALUE" for key in SHAPES),
        }

    def test_tensorflow_restores_it_by_the_same_names(self, written):
        other = variables(seed=1)
        checkpoints.tree(other).read(written).assert_consumed()
        assert_same(values(other), values(variables()))

    def test_tensorflow_restores_a_part_of_it(self, written):
        bias = tf.Variable(tf.zeros(4))
        part = tf.train.Checkpoint(bias=bias)
        whole = tf.train.Checkpoint(
            model=tf.train.Checkpoint(_a=tf.train.Checkpoint(b=tf.train.Checkpoint(**{"0": part})))
        )
        whole.restore(written).expect_partial()
        np.testing.assert_array_equal(bias, variables()["model/_a/b/0/bias"].numpy())
