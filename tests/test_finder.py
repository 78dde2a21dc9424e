"""A model is found wherever it lies, and finds the same from everywhere."""

import contextlib
import io
import shutil

import numpy as np
import pytest
import tensorflow as tf

from boxtune import config, models
from boxtune.configure import configure
from boxtune.convert import convert
from boxtune.data.image_record import ImageSource
from boxtune.errors import CheckpointError
from boxtune.evaluation.found import Source
from boxtune.finder import exported_of, load_finder
from boxtune.training import checkpoints
from tiny_run import SIDE, TinyDetector
from voc_folder import annotated, element

pytestmark = pytest.mark.usefixtures("graphs_as_traced")


@pytest.fixture(scope="module", autouse=True)
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "build", lambda section, options=None: TinyDetector())
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model directory: its newest checkpoint finds the left half of every image, its best the right half."""
    folder = tmp_path_factory.mktemp("run")
    for number in range(4):
        annotated(folder / "photos", f"{number}", element("ball"), element("leaf", 20, 2, 30, 12))
    with contextlib.redirect_stdout(io.StringIO()):
        convert(folder / "photos", folder / "records")
    pipeline = configure(folder / "records", batch_size=2, num_steps=20)
    fixed = f"model.ssd.image_resizer.fixed_shape_resizer={{height: {SIDE} width: {SIDE}}}"
    config.apply_override(pipeline, fixed)
    config.write(pipeline, folder / "complete_pipeline.config")
    shutil.copyfile(folder / "records" / "label_map.pbtxt", folder / "model_label_map.pbtxt")
    checkpoint(folder / "ckpt-2", [0, 0, 1, 0.5])
    checkpoint(folder / "best" / "ckpt-1", [0, 0.5, 1, 1])
    return folder


def checkpoint(prefix, box):
    detector = TinyDetector()
    variables = detector.checkpoint_variables()
    for key, variable in variables.items():
        if key.endswith("kernel"):
            variable.assign(np.zeros(variable.shape))
    variables["model/dense/bias"].assign([*box, 0])
    prefix.parent.mkdir(exist_ok=True)
    written = checkpoints.tree({**variables, "step": tf.Variable(1)}).write(str(prefix))
    (prefix.parent / "checkpoint").write_text(f'model_checkpoint_path: "{prefix.name}"\n')
    return written


def found(model, run):
    finder = load_finder(model)
    (one,) = finder.find([Source("0.jpg", ImageSource(run / "photos" / "0.jpg"), 1)])
    return finder, one.boxes.tolist()


@pytest.mark.parametrize(
    ("name", "box"),
    [
        (".", [0, 0.5, 1, 1]),
        ("best", [0, 0.5, 1, 1]),
        ("best/ckpt-1", [0, 0.5, 1, 1]),
        ("ckpt-2", [0, 0, 1, 0.5]),
        ("ckpt-2.index", [0, 0, 1, 0.5]),
    ],
)
def test_what_is_trained(run, name, box):
    finder, boxes = found(run / name, run)
    assert boxes == [pytest.approx(box)]
    assert finder.label_map.names == ["ball", "leaf"]
    assert finder.records == run / "records"


class Half(tf.Module):
    """Finds the upper half of every image."""

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8)])
    def find(self, images):
        return {
            "num_detections": tf.constant([1.0]),
            "detection_boxes": tf.constant([[[0.0, 0.0, 0.5, 1.0]]]),
            "detection_classes": tf.constant([[1.0]]),
            "detection_scores": tf.constant([[0.9]]),
        }


def test_what_is_exported(run, tmp_path):
    half = Half()
    tf.saved_model.save(half, str(tmp_path / "saved_model"), {"serving_default": half.find})
    assert load_finder(tmp_path).label_map.labels == ()
    (tmp_path / "label_map.pbtxt").write_text("item { id: 1 name: 'ball' }")
    for path in (tmp_path, tmp_path / "saved_model"):
        finder, boxes = found(path, run)
        assert boxes == [[0, 0, 0.5, 1]]
        assert (finder.label_map.names, finder.records) == (["ball"], None)
    # A configuration that says more than where the records are need not be understood.
    (tmp_path / "pipeline.config").write_text("model { faster_rcnn { num_classes: 1 } } nonsense")
    assert found(tmp_path, run)[0].records is None


def test_what_is_no_model_or_has_no_configuration_is_refused(run, tmp_path):
    with pytest.raises(CheckpointError, match=r"lost: no such model\. Give what"):
        load_finder(tmp_path / "lost")
    with pytest.raises(CheckpointError, match="no checkpoint here"):
        load_finder(tmp_path)
    for path in (run / "best").iterdir():
        shutil.copyfile(path, tmp_path / path.name)
    with pytest.raises(CheckpointError, match="no configuration beside this checkpoint: give"):
        load_finder(tmp_path)


def test_a_folder_that_a_failed_export_left_is_passed_over(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "exported").mkdir()
    assert exported_of(tmp_path / "run") == tmp_path / "run"
