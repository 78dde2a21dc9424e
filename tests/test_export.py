"""What an exported model takes, any number of images as tensors, encoded or in records, and what it leaves out."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from boxtune import config, models
from boxtune.data.label_map import LabelMap, write_label_map
from boxtune.data.resize import resizer
from boxtune.errors import ConfigError
from boxtune.evaluation.exported import floor_of_exported, load_exported
from boxtune.export import export
from boxtune.exporting.saved_model import INPUT_TYPES, Serving
from boxtune.finder import load_finder
from boxtune.training import checkpoints

SIZES = [(40, 60), (50, 30), (64, 64)]


@pytest.fixture(scope="module")
def pipeline():
    pipeline = config.recipe("ssd_mobilenet_v2_keras")
    section = pipeline.model
    section.ssd.num_classes = 3
    section.ssd.feature_extractor.depth_multiplier = 0.35
    section.ssd.image_resizer.fixed_shape_resizer.height = 64
    section.ssd.image_resizer.fixed_shape_resizer.width = 64
    return pipeline


@pytest.fixture(scope="module")
def detector(pipeline):
    detector = models.build(pipeline.model)
    rng = np.random.default_rng(0)  # with the weights that training begins with, all images look alike to it
    for weight in detector.trainable_weights:
        if len(weight.shape) == 4:
            inputs = np.prod(weight.shape[:2] if weight.shape[3] == 1 else weight.shape[:3])
            weight.assign(rng.normal(size=weight.shape, scale=np.sqrt(2 / inputs)))
    return detector, resizer(pipeline.model.ssd.image_resizer)


def noise(height, width):
    return np.random.default_rng(height * width).integers(0, 256, [height, width, 3], np.uint8)


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def record(encoded):
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded]))
    features = tf.train.Features(feature={"image/encoded": feature})
    return tf.train.Example(features=features).SerializeToString()


def batch_of(input_type):
    """Return three images as an input type takes them: of one size as tensors, else of several."""
    tensors = [np.roll(noise(40, 60), shift, axis=1) for shift in (0, 7, 30)]
    encoded = [png(noise(*size)) for size in SIZES]
    match input_type:
        case "image_tensor":
            return tf.constant(np.stack(tensors))
        case "float_image_tensor":
            return tf.constant(np.stack(tensors).astype(np.float32))
        case "encoded_image_string_tensor":
            return tf.constant(encoded)
    return tf.constant([record(one) for one in encoded])


@pytest.mark.parametrize("input_type", INPUT_TYPES)
def test_each_image_of_a_batch_has_the_detections_that_it_has_alone(detector, input_type):
    serve, batch = Serving(*detector, input_type).__call__, batch_of(input_type)
    together = {name: part.numpy() for name, part in serve(batch).items()}
    assert together["num_detections"].shape == (3,)
    assert together["num_detections"].min() > 0
    assert np.ptp(together["raw_detection_scores"], axis=0).max() > 0.01  # they are not alike
    for i in range(3):
        for name, part in serve(batch[i : i + 1]).items():
            np.testing.assert_allclose(together[name][i], part[0], atol=1e-6, err_msg=name)


def test_an_image_is_the_same_whatever_it_comes_in(detector):
    pixels = noise(40, 60)
    inputs = {
        "image_tensor": pixels,
        "float_image_tensor": pixels.astype(np.float32),
        "encoded_image_string_tensor": png(pixels),
        "tf_example": record(png(pixels)),
    }
    scores = []
    for input_type, one in inputs.items():
        serve = Serving(*detector, input_type).__call__
        scores.append(serve(tf.convert_to_tensor(np.array([one])))["detection_scores"].numpy())
    for one in scores[1:]:
        np.testing.assert_array_equal(one, scores[0])


@pytest.mark.thorough
def test_a_higher_floor_of_scores_leaves_out_what_is_below_and_says_so(pipeline, detector, tmp_path, capsys):
    config.write(pipeline, tmp_path / "pipeline.config")
    checkpoints.tree(detector[0].checkpoint_variables()).write(str(tmp_path / "ckpt-1"))
    write_label_map(LabelMap.from_names(["a", "b", "c"]), tmp_path / "model_label_map.pbtxt")
    image = noise(64, 64)
    found = {}
    for floor in (None, 0.5):
        folder = export(
            tmp_path / "pipeline.config", tmp_path / "ckpt-1", tmp_path / f"{floor}", score_threshold=floor
        )
        scores = load_exported(folder)(tf.constant(image[None]))["detection_scores"][0].numpy()
        found[floor] = scores[scores > 0]
        assert ("Detections that score 0.5 or less are left out" in capsys.readouterr().out) == bool(floor)
    assert found[None].min() < 0.5 < found[None].max()
    np.testing.assert_array_equal(found[0.5], found[None][found[None] > 0.5])
    assert floor_of_exported(tmp_path / "0.5") == load_finder(tmp_path / "0.5").floor == 0.5
    with pytest.raises(ConfigError, match="score_threshold is 7; it must be"):
        export(tmp_path / "pipeline.config", tmp_path / "ckpt-1", tmp_path / "other", score_threshold=7)
    assert not (tmp_path / "other").exists()


def test_a_folder_of_a_training_is_left_as_it_is(tmp_path):
    for name in ("checkpoint", "thresholds.json"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match="holds the checkpoints of a training: choose another folder"):
        export(tmp_path / "pipeline.config", tmp_path, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "thresholds.json"]
