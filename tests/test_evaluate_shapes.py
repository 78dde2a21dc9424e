"""The verb `evaluate` on masks and keypoints: from a folder of COCO, and a file of detections in COCO's form."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pycocotools import mask as coco

from boxtune.errors import ConfigError, DataError
from boxtune.evaluate import evaluate

MASK_MAP, KEYPOINT_MAP = "DetectionMasks_Precision/mAP", "Keypoints_Precision/mAP ByCategory/dog"
SIDE = 40
SQUARE = [10, 10, 20, 20]  # x, y, width, height
POLYGON = [10, 10, 30, 10, 30, 30, 10, 30]
CONFIG = """eval_config {
  parameterized_metric {
    coco_keypoint_metrics {
      class_label: "dog"
      keypoint_label_to_sigmas { key: "tail" value: 0.1 }
      keypoint_label_to_sigmas { key: "nose" value: 0.1 }
    }
  }
}
"""


@pytest.fixture
def data(tmp_path):
    return coco_folder(tmp_path / "data", segmentation=[POLYGON], keypoints=[12, 14, 2, 28, 26, 1])


def coco_folder(folder, **parts):
    """Write an image of 40 x 40 with a dog in its middle."""
    folder.mkdir()
    Image.effect_noise((SIDE, SIDE), 50).convert("RGB").save(folder / "1.png")
    document = {
        "images": [{"id": 3, "file_name": "1.png", "width": SIDE, "height": SIDE}],
        "categories": [{"id": 7, "name": "dog", "keypoints": ["tail", "nose"]}],
        "annotations": [{"id": 1, "image_id": 3, "category_id": 7, "bbox": SQUARE, "area": 400, **parts}],
    }
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder


def found(folder, **parts):
    """Write the dog as it was found: the box exactly."""
    item = {"image_id": 3, "category_id": 7, "bbox": SQUARE, "score": 0.9, **parts}
    path = folder / "found.json"
    path.write_text(json.dumps([item]))
    return path


def rectangle(ymin, xmin, ymax, xmax):
    array = np.zeros((SIDE, SIDE), np.uint8)
    array[ymin:ymax, xmin:xmax] = 1
    mask = coco.encode(np.asfortranarray(array))
    return mask | {"counts": mask["counts"].decode()}


def test_masks_of_polygons(data, tmp_path):
    exact = found(tmp_path, segmentation=rectangle(10, 10, 30, 30))
    metrics = evaluate(
        detections=exact, data=data, overrides=["eval_config.metrics_set=[coco_mask_metrics]"]
    ).metrics
    assert metrics[MASK_MAP] == pytest.approx(1)
    # Half of it: an IoU of 200 / 400 is enough at the first of the ten thresholds only.
    half = found(tmp_path, segmentation=rectangle(10, 10, 20, 30))
    metrics = evaluate(
        detections=half, data=data, overrides=["eval_config.metrics_set=[coco_mask_metrics]"]
    ).metrics
    assert metrics[MASK_MAP] == pytest.approx(0.1)


def test_keypoints(data, tmp_path):
    config = tmp_path / "pipeline.config"
    config.write_text(CONFIG)
    exact = found(tmp_path, keypoints=[12, 14, 1, 28, 26, 1])
    assert evaluate(config, detections=exact, data=data).metrics[KEYPOINT_MAP] == pytest.approx(1)
    # One is exact, the other 4 pixels off: exp(-16 / (2 x 400 x 0.2 x 0.2)) = 0.607. The mean, 0.803, is enough for
    # the thresholds from 0.5 to 0.8, seven of ten.
    near = found(tmp_path, keypoints=[16, 14, 1, 28, 26, 1])
    metrics = evaluate(config, detections=near, data=data).metrics
    assert metrics[KEYPOINT_MAP] == pytest.approx(0.7)
    assert metrics["DetectionBoxes_Precision/mAP"] == pytest.approx(1)


def test_a_label_map_numbers_the_keypoints(data, tmp_path):
    config, labels = tmp_path / "pipeline.config", tmp_path / "label_map.pbtxt"
    config.write_text(CONFIG)
    labels.write_text(
        "item { id: 7 name: 'dog' keypoints { id: 0 label: 'nose' } keypoints { id: 1 label: 'tail' } }"
    )
    swapped = found(tmp_path, keypoints=[28, 26, 1, 12, 14, 1])
    analysis = evaluate(config, detections=swapped, data=data, label_map=labels)
    assert analysis.metrics[KEYPOINT_MAP] == pytest.approx(1)


def test_what_is_not_there_is_said(data, tmp_path):
    boxes = found(tmp_path)
    with pytest.raises(DataError, match="coco_mask_metrics: the detections have no masks"):
        evaluate(detections=boxes, data=data, overrides=["eval_config.metrics_set=[coco_mask_metrics]"])
    with pytest.raises(ConfigError, match=r"eval_config\.parameterized_metric"):
        evaluate(detections=boxes, data=data, overrides=["eval_config.metrics_set=[coco_keypoint_metrics]"])
    drawn = found(tmp_path, segmentation=rectangle(10, 10, 30, 30))
    boxes = coco_folder(tmp_path / "boxes")
    with pytest.raises(DataError, match="none of 1 object has a mask"):
        evaluate(detections=drawn, data=boxes, overrides=["eval_config.metrics_set=[coco_mask_metrics]"])


@pytest.fixture
def exported(tmp_path):
    """A model as the API exports Mask R-CNN's, which finds the square exactly and fills it with its mask."""

    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8, "input_tensor")])
        def serve(self, input_tensor):
            one = tf.ones([1, 1]) + 0 * tf.reduce_mean(tf.cast(input_tensor, tf.float32))
            return {
                "detection_boxes": one[..., None] * tf.constant([[[0.25, 0.25, 0.75, 0.75]]]),
                "detection_scores": one * 0.9,
                "detection_classes": one,
                "num_detections": one[0],
                "detection_masks": one[..., None, None] * tf.ones([1, 1, 33, 33]),
            }

    folder, model = tmp_path / "exported", Model()
    tf.saved_model.save(model, str(folder / "saved_model"), {"serving_default": model.serve})
    (folder / "label_map.pbtxt").write_text("item { id: 1 name: 'dog' }")
    (folder / "pipeline.config").write_text("model { faster_rcnn { number_of_stages: 3 } }")
    return folder


def test_masks_of_an_exported_model(data, exported, tmp_path):
    with pytest.raises(
        ConfigError, match=r"does not have Faster R-CNN .* give another file.* --pipeline_config_path"
    ):
        evaluate(saved_model=exported, data=data)
    (tmp_path / "own.config").write_text("eval_config { metrics_set: 'coco_mask_metrics' }")
    metrics = evaluate(tmp_path / "own.config", saved_model=exported, data=data).metrics
    # The API's own rule spreads 0.25 to 0.75 over the 40 rows from 0 to 39: rows 10 to 29, as they were drawn.
    assert metrics[MASK_MAP] == pytest.approx(1)
