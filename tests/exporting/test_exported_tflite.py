"""TensorFlow Lite files: they find what the checkpoint finds, say what they are, and fail in one line."""

import contextlib
import json
import os
import re
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.schema_py_generated import ModelT
from flatbuffers import flexbuffers
from google.protobuf import text_format
from PIL import Image

import boxtune
from boxtune import config, models
from boxtune.config import pipeline_pb2
from boxtune.data import resize
from boxtune.data.label_map import Label, LabelMap
from boxtune.detection.box_coders import MeanStddevBoxCoder, SquareBoxCoder
from boxtune.detection.nms import NonMaxSuppression
from boxtune.errors import BoxtuneError, CheckpointError, ConfigError
from boxtune.evaluation.detecting import compiled_detector, found_by_detector
from boxtune.evaluation.exported import found_by_exported
from boxtune.evaluation.found import Source
from boxtune.evaluation.thresholds import ClassThreshold, Thresholds
from boxtune.exporting import parity, tflite, tflite_file
from boxtune.exporting.about import About
from boxtune.exporting.tflite_graph import PRECISIONS, convert
from boxtune.models.backbones.common import BY_IMAGENET, Normalize
from boxtune.models.layers import UpSampling2D
from boxtune.runtimes import preparing
from boxtune.runtimes.tflite import TFLiteModel
from boxtune.runtimes.tflite_schema import POST_PROCESS, Schema, normalization
from boxtune.structures import Inputs
from boxtune.training import averages, checkpoints
from object_detection.export_tflite_graph_lib_tf2 import export_tflite_model
from tiny_run import SIDE, TinyDetector

pytestmark = [pytest.mark.thorough, pytest.mark.usefixtures("graphs_as_traced")]

FIXED = f"fixed_shape_resizer {{ height: {SIDE} width: {SIDE} }}"
PADDED = (
    f"keep_aspect_ratio_resizer {{ min_dimension: 8 max_dimension: {SIDE} pad_to_max_dimension: true "
    "per_channel_pad_value: [10, 20, 30] }"
)
CLASSES = LabelMap((Label(1, "ball"), Label(3, "cup", "Cup"), Label(4, "two\nlines")))
ABOUT = About(CLASSES, Thresholds(7, 9, 0.0, (ClassThreshold(1, "ball", 0.4, 1.0, 1.0),)))


class Several(TinyDetector):
    """Has boxes of an upsampled map, some of them nearly the same, to be suppressed."""

    def __init__(self):
        super(TinyDetector, self).__init__(num_classes=4)
        images = keras.Input((SIDE, SIDE, 3))
        x = Normalize(BY_IMAGENET)(images)
        x = keras.layers.Conv2D(6, 3, strides=8, padding="same", activation="relu", name="model--small")(x)
        x = UpSampling2D()(x)
        outputs = keras.layers.Conv2D(8, 1, name="model--out")(x)
        self.network = keras.Model(images, outputs)
        self.normalization = BY_IMAGENET
        self.suppress = NonMaxSuppression(score_threshold=0.02, iou_threshold=0.5, max_total_detections=9)
        rng = np.random.default_rng(1)
        for weight in self.network.weights:
            weight.assign(rng.normal(0, 0.4, weight.shape))

    def candidates(self, inputs, predictions):
        rows = keras.ops.reshape(predictions, [-1, 16, 8])
        corners = keras.ops.sigmoid(rows[..., :2]) * 0.4
        boxes = keras.ops.concatenate([corners, corners + 0.3 + 0.3 * keras.ops.sigmoid(rows[..., 2:4])], -1)
        return boxes, keras.ops.sigmoid(rows[..., 4:])

    def detect(self, inputs, predictions):
        from boxtune.models.detector import windows

        return self.suppress(*self.candidates(inputs, predictions), windows(inputs))


class Plain(TinyDetector):
    """Has nothing to suppress."""

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(0)
        for weight in self.network.weights:
            if "variance" not in weight.path:
                weight.assign(rng.normal(0, 0.05, weight.shape))


def section(resizer=FIXED):
    model = pipeline_pb2.DetectionModel()
    model.ssd.num_classes = 4
    text_format.Parse(resizer, model.ssd.image_resizer)
    return model


def images():
    rng = np.random.default_rng(3)
    return [
        np.kron(rng.integers(0, 256, [4, 4, 3]), np.ones([height, width, 1])).astype(np.uint8)
        for height, width in ((3, 9), (10, 5), (4, 4))
    ]


def write(folder, detector, name="model.tflite", resizer=FIXED, **options):
    path = folder / name
    tflite.write(path, detector, section(resizer), ABOUT, **options)
    return path


@pytest.fixture(scope="module")
def several():
    return Several()


@pytest.fixture(scope="module")
def files(several, tmp_path_factory):
    """A file of each precision."""
    folder = tmp_path_factory.mktemp("files")
    return {
        one: write(folder, several, f"{one}.tflite", precision=one, calibration=images())
        for one in PRECISIONS
    }


@pytest.fixture(scope="module")
def file(files):
    return files["float32"]


def expected(detector, image, resizer=FIXED, floor=tflite.FLOOR):
    """Return what a detector finds above the floor: boxes, classes from 1 on and scores."""
    resized = resize.resizer(section(resizer).ssd.image_resizer)(image.astype(np.float32))
    inputs = Inputs(images=resized.image[None], sizes=resized.size[None])
    found = detector.detect(inputs, detector(inputs, training=False))
    count = int(np.sum(np.asarray(found.scores)[0, : int(found.count[0])] > floor))
    return (
        np.asarray(found.boxes)[0, :count],
        np.asarray(found.classes)[0, :count] + 1,
        np.asarray(found.scores)[0, :count],
    )


def same(model, detector, image, atol, **options):
    boxes, classes, scores = expected(detector, image, **options)
    found = model(image[None])
    count = int(found["num_detections"][0])
    assert count == len(scores) > 0
    np.testing.assert_allclose(found["detection_scores"][0, :count], scores, atol=atol)
    np.testing.assert_array_equal(found["detection_classes"][0, :count], classes)
    np.testing.assert_allclose(found["detection_boxes"][0, :count], boxes, atol=atol)
    for part in found.values():
        assert part.dtype == np.float32
    assert not any(found[f"detection_{name}"][0, count:].any() for name in ("scores", "classes", "boxes"))


@pytest.mark.parametrize(("precision", "atol"), [("float32", 1e-6), ("float16", 2e-3)])
def test_it_finds_what_the_checkpoint_finds(several, files, precision, atol):
    model = TFLiteModel(files[precision])
    for image in images():
        same(model, several, image, atol)


@pytest.mark.parametrize(("precision", "atol"), [("dynamic_range", 0.05), ("int8", 0.08)])
def test_a_quantized_one_finds_about_that(several, files, precision, atol):
    model = TFLiteModel(files[precision])
    for image in images():
        boxes, _, scores = expected(several, image)
        found = model(image[None])
        assert abs(found["detection_scores"][0, 0] - scores[0]) < atol
        nearest = np.abs(found["detection_boxes"][0, :, None] - boxes).max(-1).min(1)
        assert nearest[: int(found["num_detections"][0])].max() < 2 * atol


def test_several_images_are_as_each_alone(file):
    model = TFLiteModel(file)
    batch = np.random.default_rng(0).integers(0, 256, [3, 21, 34, 3], np.uint8)
    together = model(batch)
    assert together["detection_boxes"].shape == (3, 9, 4)
    assert model.largest_batch == 1
    for number in range(3):
        for name, values in model(batch[number : number + 1]).items():
            np.testing.assert_array_equal(values[0], together[name][number])


def test_padding_is_filled_and_boxes_are_fractions_of_the_image(several, tmp_path):
    path = write(tmp_path, several, resizer=PADDED)
    model = TFLiteModel(path)
    for image in images():
        same(model, several, image, 1e-5, resizer=PADDED)


@pytest.mark.parametrize(
    "changed",
    [
        {"class_agnostic": True, "max_total_detections": 3},
        {"max_detections_per_class": 1, "score_threshold": 0.3},
    ],
)
def test_suppression_is_that_of_the_configuration(tmp_path, changed):
    detector = Several()
    fields = {"score_threshold": 0.02, "iou_threshold": 0.5, "max_total_detections": 9} | changed
    detector.suppress = NonMaxSuppression(**fields)
    model = TFLiteModel(write(tmp_path, detector))
    for image in images():
        same(model, detector, image, 1e-6)
    assert model.score_floor == pytest.approx(max(fields["score_threshold"], 0.05))


def test_a_detector_without_suppression_is_of_builtin_operators(tmp_path):
    detector = Plain()
    path = write(tmp_path, detector)
    assert not any(one.startswith("TFLite_") for one in tflite_file.operators(path.read_bytes()))
    for image in images():
        same(TFLiteModel(path), detector, image, 1e-6, floor=0)
    assert TFLiteModel(path).score_floor == 0


@pytest.mark.parametrize("coder", [SquareBoxCoder(), MeanStddevBoxCoder(0.1)])
def test_other_codes_of_boxes_decode_to_the_same(coder):
    rng = np.random.default_rng(0)
    anchors = np.float32([[0.1, 0.2, 0.5, 0.7], [0.3, 0.1, 0.6, 0.9]])
    encodings = np.float32(rng.normal(0, 0.5, [1, 2, coder.code_size]))
    codes = coder.center_codes(encodings, anchors)
    y, x, height, width = np.moveaxis(np.asarray(codes.encodings) / np.float32(codes.scales), -1, 0)
    anchor_y, anchor_x, anchor_height, anchor_width = np.asarray(codes.anchors).T
    centers = np.stack([y * anchor_height + anchor_y, x * anchor_width + anchor_x], -1)
    halves = np.stack([np.exp(height) * anchor_height, np.exp(width) * anchor_width], -1) / 2
    decoded = np.concatenate([centers - halves, centers + halves], -1)
    np.testing.assert_allclose(decoded, coder.decode(encodings, anchors), atol=1e-6)


class TestFile:
    def test_shapes_names_and_order_of_outputs(self, files):
        for path in files.values():
            (graph,) = ModelT.InitFromPackedBuf(path.read_bytes(), 0).subgraphs
            outputs = [(graph.tensors[one].name, graph.tensors[one].shape.tolist()) for one in graph.outputs]
            assert outputs == [
                (b"StatefulPartitionedCall:1", [1, 9]),
                (b"StatefulPartitionedCall:3", [1, 9, 4]),
                (b"StatefulPartitionedCall:0", [1]),
                (b"StatefulPartitionedCall:2", [1, 9]),
            ]

    def test_the_way_of_the_tutorials(self, several, file):
        interpreter = Interpreter(model_path=str(file))
        interpreter.allocate_tensors()
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        assert inputs[0]["dtype"] == np.float32
        assert "StatefulPartitionedCall" in outputs[0]["name"]
        at_boxes, at_classes, at_scores = 1, 3, 0
        image = images()[0]
        pixels = preparing.resize(image, (SIDE, SIDE))
        interpreter.set_tensor(inputs[0]["index"], np.asarray(BY_IMAGENET(pixels))[None])
        interpreter.invoke()
        boxes, classes, scores = expected(several, image)
        found = [
            interpreter.get_tensor(outputs[at]["index"])[0][: len(scores)]
            for at in (at_boxes, at_classes, at_scores)
        ]
        np.testing.assert_allclose(found[0], boxes, atol=1e-6)
        np.testing.assert_array_equal(found[1], classes - 1)
        np.testing.assert_allclose(found[2], scores, atol=1e-6)

    def test_bytes_are_fed_as_they_are(self, files):
        interpreter = Interpreter(model_path=str(files["int8"]))
        (given,) = interpreter.get_input_details()
        assert (given["dtype"], given["quantization"]) == (np.uint8, (1.0, 0))
        assert all(one["dtype"] == np.float32 for one in interpreter.get_output_details())

    def test_the_options_of_the_operator(self, file):
        model = ModelT.InitFromPackedBuf(file.read_bytes(), 0)
        (custom,) = operators_called(model, POST_PROCESS)
        options = flexbuffers.Loads(bytes(custom.customOptions))
        assert options["use_regular_nms"] == 1
        assert options["max_detections"] == 9
        assert options["nms_score_threshold"] == np.nextafter(np.float32(0.05), np.float32(1))
        assert options["nms_iou_threshold"] == 0.5
        assert options["num_classes"] == 4

    def test_no_operator_stops_an_accelerator(self, files):
        found = tflite_file.operators(files["int8"].read_bytes())
        assert "TILE" not in found
        assert "RESIZE_NEAREST_NEIGHBOR" in found
        (graph,) = ModelT.InitFromPackedBuf(files["int8"].read_bytes(), 0).subgraphs
        (resizing,) = [
            one.builtinOptions for one in graph.operators if hasattr(one.builtinOptions, "halfPixelCenters")
        ]
        assert (resizing.alignCorners, resizing.halfPixelCenters) == (False, False)

    def test_operators_that_an_edge_tpu_does_not_have_are_named(self, files, caplog):
        """Those of boxes that become codes again; of an SSD's there are none."""
        assert tflite_file.not_on_edge_tpu(files["int8"].read_bytes()) == ["LOG", "UNPACK"]
        tflite_file.warn_of_edge_tpu(files["int8"])
        assert "int8.tflite: for an Edge TPU there is no LOG, UNPACK by" in caplog.text

    def test_compiled_model_runs_it(self, file):
        done = subprocess.run(
            [sys.executable, "-c", COMPILED, str(file)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        scores = json.loads(done.stdout.splitlines()[-1])
        pixels = np.zeros([SIDE, SIDE, 3], np.float32)
        interpreter = Interpreter(model_path=str(file))
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels[None])
        interpreter.invoke()
        first = interpreter.get_output_details()[0]
        np.testing.assert_allclose(scores, interpreter.get_tensor(first["index"])[0], atol=1e-6)


COMPILED = f"""
import json, sys
import numpy as np
from ai_edge_litert.compiled_model import CompiledModel

model = CompiledModel.from_file(sys.argv[1])
inputs, outputs = model.create_input_buffers(0), model.create_output_buffers(0)
inputs[0].write(np.zeros([1, {SIDE}, {SIDE}, 3], np.float32))
model.run_by_index(0, inputs, outputs)
print(json.dumps(outputs[0].read(9, np.float32).tolist()))
"""


class TestMetadata:
    def test_boxtunes_own(self, files):
        for precision, path in files.items():
            model = TFLiteModel(path)
            assert model.metadata["boxtune.version"] == boxtune.__version__
            assert model.label_map == CLASSES
            assert json.loads(model.thresholds)["classes"][0]["min_score"] == 0.4
            assert model.score_floor == 0.05
            said = json.loads(model.metadata["boxtune.input"])
            assert (said["precision"], said["size"]) == (precision, [SIDE, SIDE])
            assert said["dtype"] == ("uint8" if precision == "int8" else "float32")

    def test_the_standard(self, file, files):
        content = file.read_bytes()
        mean, deviation = normalization(Schema(content).metadata)
        np.testing.assert_allclose(mean, np.float32([0.485, 0.456, 0.406]) * 255, rtol=1e-6)
        np.testing.assert_allclose(deviation, np.float32([0.229, 0.224, 0.225]) * 255, rtol=1e-6)
        mean, deviation = normalization(Schema(files["int8"].read_bytes()).metadata)
        assert (mean, deviation) == ([0, 0, 0], [1, 1, 1])
        with zipfile.ZipFile(file) as archive:
            assert archive.read("labels.txt").decode().splitlines() == ["ball", "class 2", "Cup", "two lines"]

    def test_the_file_is_the_same_each_time(self, several, file, tmp_path):
        again = write(tmp_path, several)
        assert again.read_bytes() == file.read_bytes()


class TestOthersFiles:
    """Without boxtune's metadata."""

    def test_of_the_apis_exporter(self, several, file, tmp_path):
        path = self.without(file, tmp_path, "boxtune.", "TFLITE_METADATA")
        model = TFLiteModel(path)
        assert (model.label_map, model.thresholds, model.score_floor) == (None, None, None)
        assert model._prepare.scale == (2 / 255,) * 3
        assert model._prepare.shift == (1.0,) * 3

    def test_with_standard_metadata(self, several, file, tmp_path):
        model = TFLiteModel(self.without(file, tmp_path, "boxtune."))
        same(model, several, images()[0], 1e-5)

    def test_of_other_names(self, several, file, tmp_path):
        """As of TensorFlow 1: the operator says which output is which."""
        model = ModelT.InitFromPackedBuf(file.read_bytes(), 0)
        (graph,) = model.subgraphs
        for number, index in enumerate(graph.outputs):
            graph.tensors[index].name = f"TFLite_Detection_PostProcess:{number}".encode()
        graph.outputs = graph.outputs[::-1]
        same(TFLiteModel(packed(model, tmp_path / "other.tflite")), several, images()[0], 1e-5)

    @staticmethod
    def without(file, folder, *names):
        model = ModelT.InitFromPackedBuf(file.read_bytes(), 0)
        model.metadata = [one for one in model.metadata if not one.name.decode().startswith(names)]
        return packed(model, folder / "theirs.tflite")


def operators_called(model, name):
    codes = [tflite_file.name_of(code) for code in model.operatorCodes]
    return [one for one in model.subgraphs[0].operators if codes[one.opcodeIndex] == name]


def packed(model, path):
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    return path


class TestResizing:
    @pytest.mark.parametrize("size", [(7, 5), (16, 16), (40, 33), (1, 300), (480, 640)])
    @pytest.mark.parametrize("resizer", [FIXED, PADDED])
    def test_as_in_training(self, size, resizer):
        image = np.random.default_rng(0).integers(0, 256, [*size, 3], np.uint8)
        resized = resize.resizer(section(resizer).ssd.image_resizer)(image.astype(np.float32))
        _, prepare = tflite.preparation(Plain.__new__(Plain), section(resizer).ssd.image_resizer, "float32")
        pixels, extent = prepare(image)
        np.testing.assert_allclose(pixels, resized.image, atol=1e-4)
        np.testing.assert_allclose(extent * SIDE, resized.size)

    def test_all_sizes_of_an_image_that_keeps_its_shape(self):
        text = (
            "keep_aspect_ratio_resizer { min_dimension: 300 max_dimension: 512 pad_to_max_dimension: true }"
        )
        one = section(text).ssd.image_resizer
        rng = np.random.default_rng(0)
        run = tf.function(lambda image: resize.resizer(one)(image).size, reduce_retracing=True)
        for size in rng.integers(1, 3000, [40, 2]):
            of_training = run(tf.zeros([*size, 3])).numpy().tolist()
            assert list(preparing._size_within(tuple(size), 300, 512)) == of_training


class TestRefusals:
    @pytest.mark.parametrize(
        ("resizer", "message"),
        [
            ("identity_resizer {}", "has a fixed size, and identity_resizer gives images of several"),
            ("keep_aspect_ratio_resizer { max_dimension: 64 }", "pad_to_max_dimension: true"),
            ("fixed_shape_resizer { height: 16 width: 16 resize_method: AREA }", "resize_method is AREA"),
            ("fixed_shape_resizer { height: 9000 width: 16 }", "gives 9000 x 16 pixels; at most 8192"),
        ],
    )
    def test_resizers(self, several, tmp_path, resizer, message):
        with pytest.raises(ConfigError, match=re.escape(message)):
            write(tmp_path, several, resizer=resizer)
        assert not list(tmp_path.iterdir())

    def test_what_the_operator_cannot_do(self):
        detector, one = Plain.__new__(Plain), section()
        object.__setattr__(detector, "suppress", NonMaxSuppression(soft_nms_sigma=0.5))
        with pytest.raises(
            ConfigError, match=r"soft_nms_sigma is 0\.5, and TFLite_Detection_PostProcess drops"
        ):
            tflite.refuse(detector, one)
        object.__setattr__(detector, "suppress", NonMaxSuppression(change_coordinate_frame=False))
        tflite.refuse(detector, one)
        with pytest.raises(ConfigError, match="change_coordinate_frame is false"):
            tflite.refuse(detector, section(PADDED))
        object.__setattr__(detector, "finds", ("masks", "keypoints"))
        with pytest.raises(ConfigError, match="boxes only, and this model finds masks and keypoints, too"):
            tflite.refuse(detector, one)

    def test_precisions(self, several, tmp_path):
        with pytest.raises(ConfigError, match=r'"int9" is not one of float32, .* Did you mean "int8"'):
            write(tmp_path, several, precision="int9")
        with pytest.raises(ConfigError, match="int8 needs images that show the ranges of numbers"):
            write(tmp_path, several, precision="int8", calibration=[])

    def test_operators_that_there_are_not(self, tmp_path):
        class Unknown(Plain):
            def candidates(self, inputs, predictions):
                boxes, scores = super().candidates(inputs, predictions)
                return boxes, tf.math.special.bessel_j0(scores)

        with pytest.raises(
            ConfigError, match="the model cannot be converted: TensorFlow Lite has no BesselJ0"
        ):
            write(tmp_path, Unknown())
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("name", ["ai_edge_litert", "flatbuffers"])
    def test_without_the_extra(self, monkeypatch, name):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ConfigError, match=rf'needs {name}, .* pip install "boxtune\[tflite\]"'):
            tflite.require_tflite()

    def test_without_the_runtime(self, file, monkeypatch):
        monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
        with pytest.raises(ConfigError, match=r"needs LiteRT, .* pip install .* or ai-edge-litert alone"):
            TFLiteModel(file)


class TestHostileFiles:
    @pytest.mark.parametrize("size", [0, 1, 7, 100, 0.5, 0.97])
    def test_cut_short(self, file, tmp_path, size):
        whole = file.read_bytes()
        path = tmp_path / "cut.tflite"
        path.write_bytes(whole[: size if isinstance(size, int) else int(size * len(whole))])
        self.fails(path, r"cut\.tflite: is ")

    def test_something_else(self, tmp_path):
        path = tmp_path / "text.tflite"
        path.write_text("no model\n" * 100)
        self.fails(path, r"text\.tflite: is no TensorFlow Lite file")
        path.write_bytes(b"\xff\xff\xff\xffTFL3" + bytes(100))
        self.fails(path, r"text\.tflite: is damaged: its parts lie outside of it")

    def test_not_there_a_folder_or_a_pipe(self, tmp_path):
        self.fails(tmp_path / "lost.tflite", r"lost\.tflite")
        (tmp_path / "folder.tflite").mkdir()
        self.fails(tmp_path / "folder.tflite", r"folder\.tflite")
        os.mkfifo(tmp_path / "pipe.tflite")
        self.fails(tmp_path / "pipe.tflite", "is a device or a pipe")

    def test_huge(self, tmp_path):
        with open(tmp_path / "huge.tflite", "wb") as stream:
            stream.truncate(3 << 30)
        self.fails(
            tmp_path / "huge.tflite", "has 3,221,225,472 bytes, and no TensorFlow Lite file 2 GiB or more"
        )

    def test_another_model(self, file, tmp_path):
        model = ModelT.InitFromPackedBuf(file.read_bytes(), 0)
        (graph,) = model.subgraphs
        graph.outputs = graph.outputs[:3]
        self.fails(
            packed(model, tmp_path / "three.tflite"), "has 3 outputs, not boxes, classes, scores and count"
        )
        graph.tensors[graph.inputs[0]].shape = np.int32([1, 3, SIDE, SIDE])
        self.fails(packed(model, tmp_path / "first.tflite"), r"takes float32 \[1, 3, 16, 16\], not one image")
        graph.tensors[graph.inputs[0]].shape = np.int32([1, 60_000, 60_000, 3])
        self.fails(packed(model, tmp_path / "large.tflite"), "not one image of fixed size")

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("classes", "{"),
            ("classes", '[{"id": 0, "name": "a"}]'),
            ("input", "7"),
            ("input", "[" * 100_000),
            ("input", '{"size": [16, 16]}'),
            ("input", '{"size": [16, 1e9], "resizer": "fixed_shape_resizer"}'),
            ("input", '{"size": [17, 16], "resizer": "fixed_shape_resizer", "padding": [0,0,0], '
                      '"scale": [1,1,1], "shift": [0,0,0]}'),
            ("input", '{"size": [16, 16], "resizer": "fixed_shape_resizer", "padding": [0,0,0], '
                      '"scale": [1,1,NaN], "shift": [0,0,0]}'),
            ("score_floor", "much"),
        ],
    )  # fmt: skip
    def test_damaged_metadata(self, file, tmp_path, name, text):
        model = ModelT.InitFromPackedBuf(file.read_bytes(), 0)
        for one in model.metadata:
            if one.name.decode() == f"boxtune.{name}":
                model.buffers[one.buffer].data = np.frombuffer(text.encode(), np.uint8)
        path = packed(model, tmp_path / "damaged.tflite")
        with pytest.raises(CheckpointError, match=rf"damaged\.tflite: its metadata boxtune\.{name} are "):
            opened(path)

    def test_damaged_standard_metadata(self, file, tmp_path):
        content = bytes(Schema(file.read_bytes()).metadata["TFLITE_METADATA"])
        rng = np.random.default_rng(0)
        for _ in range(300):
            damaged = bytearray(content)
            for at in rng.integers(0, len(damaged), 3):
                damaged[at] = rng.integers(256)
            with contextlib.suppress(ValueError):  # and nothing else is raised
                normalization({"TFLITE_METADATA": bytes(damaged[: rng.integers(4, len(damaged) + 1)])})

    @pytest.mark.parametrize(
        ("option", "value"),
        [("num_classes", 2), ("max_detections", 0), ("max_detections", 1 << 30), ("y_scale", 0.0)],
    )
    def test_options_that_the_operator_would_crash_by(self, file, tmp_path, option, value):
        model = ModelT.InitFromPackedBuf(file.read_bytes(), 0)
        (custom,) = operators_called(model, POST_PROCESS)
        options = flexbuffers.Loads(bytes(custom.customOptions)) | {option: value}
        custom.customOptions = np.frombuffer(tflite_file._flexible(options), np.uint8)
        self.fails(
            packed(model, tmp_path / "odd.tflite"), "odd.tflite: is damaged: the options of TFLite_Detection"
        )
        custom.customOptions = custom.customOptions[:5]
        self.fails(
            packed(model, tmp_path / "odd.tflite"), "the options of TFLite_Detection_PostProcess are damaged"
        )

    @pytest.mark.parametrize("index", [-1, 10**6])
    def test_tensors_that_there_are_not(self, file, tmp_path, index):
        def damaged(change):
            model = ModelT.InitFromPackedBuf(file.read_bytes(), 0)
            change(model.subgraphs[0], model.subgraphs[0].operators[3])
            return packed(model, tmp_path / "odd.tflite")

        one = np.array([index], np.int32)
        self.fails(
            damaged(lambda graph, operator: setattr(operator, "inputs", one)), r"odd\.tflite: is damaged"
        )
        self.fails(
            damaged(lambda graph, operator: setattr(operator, "outputs", one)), r"odd\.tflite: is damaged"
        )
        self.fails(damaged(lambda graph, operator: setattr(graph, "inputs", one)), r"odd\.tflite: is damaged")

    def test_what_fails(self, file, tmp_path):
        """The operator gives up where a box ends before it begins."""
        model = ModelT.InitFromPackedBuf(file.read_bytes(), 0)
        (graph,) = model.subgraphs
        (anchors,) = [
            one for one in graph.tensors if one.shape.tolist() == [16, 4] and one.name == b"anchors"
        ]
        turned = np.tile(np.float32([0, 0, -1, -1]), (16, 1))
        model.buffers[anchors.buffer].data = np.frombuffer(turned.tobytes(), np.uint8)
        broken = TFLiteModel(packed(model, tmp_path / "broken.tflite"))
        with pytest.raises(CheckpointError, match="the model fails: "):
            broken(images()[0][None])

    @staticmethod
    def fails(path, message):
        with pytest.raises(BoxtuneError, match=message) as caught:
            opened(path)
        assert "\n" not in str(caught.value)


def opened(path):
    model = TFLiteModel(path)
    return model.label_map, model.thresholds, model.score_floor


WITHOUT_TENSORFLOW = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "keras", "onnx", "onnxruntime"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
from pathlib import Path
import numpy as np
import boxtune
from boxtune.runtimes.tflite import TFLiteModel

model = TFLiteModel(Path(sys.argv[1]))
print(int(model(np.zeros([1, 20, 30, 3], np.uint8))["num_detections"][0]) >= 0, model.label_map.labels[0].name)
"""


def test_it_runs_where_tensorflow_is_not_installed(file):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, str(file)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True ball\n", "")


@pytest.mark.shared
@pytest.mark.large
def test_real_photographs_are_seen_as_by_the_checkpoint(shared, tmp_path):
    folder = shared / "checkpoints" / "ssd_mobilenet_v2_fpnlite_224x224_a050_coco"
    model = config.load(folder / "pipeline.config").model
    detector = models.build(model)
    averages.load(detector, checkpoints.find(folder), averaged=False)
    photographs = sorted((shared / "data" / "voc" / "raccoon" / "images").glob("*.jpg"))
    sources = [Source(one.name, np.asarray(Image.open(one).convert("RGB")), None) for one in photographs]
    shown, others = sources[:60], [one.image for one in sources[60:160]]
    expected = list(
        found_by_detector(compiled_detector(detector), model.ssd.image_resizer, shown, batch_size=1)
    )
    for precision in ("float32", "float16", "int8"):
        path = tmp_path / f"{precision}.tflite"
        tflite.write(path, detector, model, About(None, None), precision, others)
        found = list(found_by_exported(TFLiteModel(path), shown, batch_size=1))
        compared = parity.compare(expected, found, file=path.name, size=1, of="", precision=precision)
        assert compared.detections > (40 if precision == "int8" else 100)
        if precision == "int8":
            # At an IoU of 0.9: at 0.5 all are found, and none besides.
            assert compared.matched >= 0.8 * compared.detections
            continue
        assert (compared.matched, compared.extra) == (compared.detections, 0)
        assert compared.largest_box_difference < (1e-5 if precision == "float32" else 1e-3)


@pytest.mark.shared
@pytest.mark.thorough
def test_the_apis_script(shared, tmp_path):
    folder = shared / "checkpoints" / "ssd_mobilenet_v2_fpnlite_224x224_a050_coco"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "object_detection.export_tflite_graph_tf2"),
            f"--pipeline_config_path={folder / 'pipeline.config'}",
            f"--trained_checkpoint_dir={folder}",
            f"--output_directory={tmp_path}",
            "--config_override=model{ssd{post_processing{batch_non_max_suppression{iou_threshold:0.25}}}}",
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (tmp_path / "model.tflite").write_bytes(convert(tmp_path / "saved_model", "float32", None))
    (custom,) = operators_called(
        model := ModelT.InitFromPackedBuf((tmp_path / "model.tflite").read_bytes(), 0), POST_PROCESS
    )
    options = flexbuffers.Loads(bytes(custom.customOptions))
    assert (options["max_detections"], options["use_regular_nms"]) == (10, 0)
    assert (options["nms_iou_threshold"], options["nms_score_threshold"]) == (0.25, 0)
    assert model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].shape.tolist() == [1, 224, 224, 3]
    found = TFLiteModel(tmp_path / "model.tflite")(np.zeros([1, 50, 70, 3], np.uint8))
    assert found["detection_boxes"].shape == (1, 10, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"include_keypoints": True}, "--centernet_include_keypoints is not supported"),
        ({"max_detections": 0}, "--max_detections is 0; it must be at least 1"),
    ],
)
def test_what_the_apis_script_refuses(tmp_path, options, message):
    options = {"max_detections": 10, "use_regular_nms": False} | options
    with pytest.raises(ConfigError, match=message):
        export_tflite_model(pipeline_pb2.TrainEvalPipelineConfig(), "lost", str(tmp_path), **options)
    assert not list(tmp_path.iterdir())
