"""TensorFlow Lite files of the API's script: the same outputs, names, operators and options as the API's own had."""

import json
from collections import Counter
from dataclasses import dataclass
from functools import cache

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.schema_py_generated import ModelT
from flatbuffers import flexbuffers

from boxtune import config, models
from boxtune.data import resize
from boxtune.exporting.tflite_file import name_of
from boxtune.exporting.traced import quiet
from boxtune.models.ssd_features import FEATURE_EXTRACTORS
from boxtune.runtimes.tflite_schema import POST_PROCESS
from boxtune.silence_stderr import silenced_stderr
from boxtune.training import checkpoints
from golden.recordings import FOLDER, GIVEN, element_index, load_fill, recorded_weights
from object_detection.export_tflite_graph_lib_tf2 import export_tflite_model

pytestmark = [pytest.mark.thorough, pytest.mark.shared, pytest.mark.usefixtures("graphs_as_traced")]

FPNLITE = "ssd_mobilenet_v2_fpnlite_320x320_coco17_tpu-8"
D0 = "ssd_efficientdet_d0_512x512_coco17_tpu-8"
LARGE = ("ssd_mobilenet_v2_320x320_coco17_tpu-8", D0)

TOLERANCES = {"float32": (1e-5, 1e-5), "float16": (1e-5, 1e-4), "dynamic": (0.03, 0.3)}
"""Of scores and of boxes, by precision. The last quantizes activations while it runs: other kernels round otherwise."""

ROUNDING = {D0: 2}
"""By how much tolerances are larger: the recording adds up the pixels of large maps in another order."""

OTHERS = {
    FPNLITE: {"PACK", "RESIZE_NEAREST_NEIGHBOR"},
    D0: {"PACK", "RESIZE_NEAREST_NEIGHBOR", "FULLY_CONNECTED", "MUL", "ADD", "MEAN"},
}
"""Operators of which there are other numbers: those of upsampling, of weighted sums (there as products with stacked
maps) and of means (here of the rows' means)."""


@dataclass(eq=False)
class Exported:
    """What a recorded model's export gives, and what was recorded."""

    name: str
    folder: object
    about: dict
    arrays: dict
    images: list

    @cache  # noqa: B019 - as long as its module is tested
    def file(self, variant):
        converter = tf.lite.TFLiteConverter.from_saved_model(str(self.folder / "saved_model"))
        converter.allow_custom_ops = True
        if variant != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if variant == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if variant.startswith("int8"):
            converter.representative_dataset = lambda: ([image] for image in self.images)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if variant == "int8_uint8_in":
            converter.inference_input_type = tf.uint8
        with quiet("tensorflow"), quiet("absl"), silenced_stderr():
            return bytes(converter.convert())


@pytest.fixture(
    scope="module",
    params=[FPNLITE, *(pytest.param(name, marks=pytest.mark.large) for name in LARGE)],
)
def exported(request, tmp_path_factory):
    folder = FOLDER / "tflite" / request.param
    if not GIVEN and not FOLDER.is_dir():
        pytest.skip(f"needs the recordings of {FOLDER} (or set BOXTUNE_SHARED or BOXTUNE_GOLDEN)")
    work = tmp_path_factory.mktemp(request.param)
    weights = recorded_weights(FOLDER / request.param)
    checkpoints.tree({key: keras.Variable(value) for key, value in weights.items()}).write(
        str(work / "ckpt-0")
    )
    (work / "checkpoint").write_text('model_checkpoint_path: "ckpt-0"\n')
    pipeline = config.load(folder / "pipeline.config")
    export_tflite_model(pipeline, str(work), str(work), 10, False)
    with np.load(folder / "golden.npz") as file:
        arrays = dict(file)
    fill, resizer = load_fill(), resize.resizer(models.image_resizer(pipeline.model))
    normalize = FEATURE_EXTRACTORS[pipeline.model.ssd.feature_extractor.type].normalization
    raw = [fill.image(360, 480, 0), fill.image(500, 375, 1)]
    images = [np.asarray(normalize(resizer(image.astype(np.float32)).image))[None] for image in raw]
    about = json.loads((folder / "golden.json").read_text())["variants"]
    return Exported(request.param, work, about, arrays, images)


def described(content):
    """Return the operators, the options of the custom one, and names and order of the tensors."""
    model = ModelT.InitFromPackedBuf(content, 0)
    (graph,) = model.subgraphs
    named = [(name_of(model.operatorCodes[one.opcodeIndex]), one) for one in graph.operators]
    ((_, custom),) = [pair for pair in named if pair[0] == POST_PROCESS]
    name = lambda index: graph.tensors[index].name.decode()  # noqa: E731
    (signature,) = model.signatureDefs
    return {
        "counts": Counter(operator for operator, _ in named),
        "options": flexbuffers.Loads(bytes(custom.customOptions)),
        "custom_outputs": [name(index) for index in custom.outputs],
        "anchors_are_constant": model.buffers[graph.tensors[custom.inputs[2]].buffer].data is not None,
        "code_shapes": [graph.tensors[index].shape.tolist() for index in custom.inputs],
        "inputs": [name(index) for index in graph.inputs],
        "outputs": [name(index) for index in graph.outputs],
        "signature": {one.name.decode(): name(one.tensorIndex) for one in signature.outputs},
    }


def run(content, image):
    with silenced_stderr():
        interpreter = Interpreter(model_content=content)
        interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    if given["dtype"] == np.uint8:
        scale, zero = given["quantization"]
        image = np.clip(np.rint(image / scale + zero), 0, 255).astype(np.uint8)
    interpreter.set_tensor(given["index"], image)
    interpreter.invoke()
    return [interpreter.get_tensor(one["index"]) for one in interpreter.get_output_details()]


def test_the_images(exported):
    for number, image in enumerate(exported.images):
        recorded = exported.arrays[f"input/{number}.elems"]
        sampled = image.reshape(-1)[element_index(image.size, 1024)]
        np.testing.assert_allclose(sampled, recorded, atol=1e-5)


def recorded_variant(exported, variant):
    if variant not in exported.about:
        pytest.skip(f"{variant} was not recorded")  # of EfficientDet
    return exported.about[variant]


VARIANTS = [
    "float32",
    *(
        pytest.param(name, marks=pytest.mark.large)
        for name in ("float16", "dynamic", "int8", "int8_uint8_in")
    ),
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_operators_names_order_and_options(exported, variant):
    recorded, found = recorded_variant(exported, variant), described(exported.file(variant))
    model = recorded["model"]
    (custom,) = model["custom_ops"]
    others = OTHERS.get(exported.name, set()) | {"RESHAPE"}
    counts = {name: count for name, count in found["counts"].items() if name not in others}
    assert counts == {name: count for name, count in model["op_counts"].items() if name not in others}
    assert "TILE" not in found["counts"]
    assert found["options"] == custom["options"]
    assert found["custom_outputs"] == [one["name"] for one in custom["outputs"]]
    assert found["code_shapes"] == [one["shape"] for one in custom["inputs"]]
    assert found["anchors_are_constant"] or variant == "float16"  # there it follows DEQUANTIZE
    assert (found["inputs"], found["outputs"]) == (model["inputs"], model["outputs"])
    assert found["signature"] == model["signatures"][0]["outputs"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_input_and_outputs(exported, variant):
    recorded = recorded_variant(exported, variant)
    with silenced_stderr():
        interpreter = Interpreter(model_content=exported.file(variant))
        interpreter.allocate_tensors()
    for measured, expected in (
        *zip(interpreter.get_input_details(), recorded["inputs"], strict=True),
        *zip(interpreter.get_output_details(), recorded["outputs"], strict=True),
    ):
        assert measured["name"] == expected["name"]
        assert measured["shape"].tolist() == expected["shape"]
        assert measured["dtype"].__name__ == expected["dtype"]
        scale, zero = expected["scale_zero"]
        assert measured["quantization"] == (pytest.approx(scale, rel=1e-4), zero)


@pytest.mark.parametrize("variant", [*VARIANTS[:1], *VARIANTS[1:3]])
def test_what_is_found(exported, variant):
    recorded_variant(exported, variant)
    score_bound, box_bound = (bound * ROUNDING.get(exported.name, 1) for bound in TOLERANCES[variant])
    for number, image in enumerate(exported.images):
        expected = [exported.arrays[f"{variant}/picture{number}/output{index}"] for index in range(4)]
        scores, boxes, count, classes = run(exported.file(variant), image)
        np.testing.assert_array_equal(count, expected[2])
        np.testing.assert_allclose(scores, expected[0], atol=score_bound)
        clear = clear_of_others(expected[0], score_bound)
        assert variant != "float32" or clear.any()
        np.testing.assert_allclose(boxes[clear], expected[1][clear], atol=box_bound)
        np.testing.assert_array_equal(classes[clear], expected[3][clear])


def clear_of_others(scores, bound):
    """Return which detections [1, k] rounding by `bound` cannot exchange for their neighbours."""
    gaps = np.abs(np.diff(scores, axis=1)) > 2 * bound
    return np.pad(gaps, ((0, 0), (1, 0)), constant_values=True) & np.pad(gaps, ((0, 0), (0, 1)))
