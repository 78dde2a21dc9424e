"""ONNX files: they find what the checkpoint finds, say what they are, run without TensorFlow, and fail in one line."""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import boxtune
from boxtune import cli, models
from boxtune.cli import main
from boxtune.detection.nms import NonMaxSuppression
from boxtune.errors import BoxtuneError, CheckpointError, ConfigError
from boxtune.evaluate import evaluate
from boxtune.evaluation.found import Found
from boxtune.evaluation.thresholds import ClassThreshold, Thresholds, write_thresholds
from boxtune.export import export
from boxtune.exporting import formats, parity
from boxtune.exporting.onnx import refuse_suppression
from boxtune.load import load
from boxtune.runtimes.model_file import CLASSES
from boxtune.runtimes.onnx import OnnxModel
from several_boxes import OneClass, Several, Undecided
from tiny_run import SIDE

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

BOTH = ["saved_model", "onnx"]


@pytest.fixture(scope="module")
def file(run):
    """The ONNX file of Several, and beside it all else that an export writes."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setattr(models, "build", lambda section, options=None: Several())
        export(run / "pipeline.config", run / "checkpoint", run / "exported", formats=["onnx"])
    return run / "exported" / "model.onnx"


def images():
    rng = np.random.default_rng(3)
    return [
        rng.integers(0, 256, [height, width, 3], np.uint8) for height, width in ((5, 9), (40, 20), (16, 16))
    ]


def test_it_finds_what_the_saved_model_finds(run, kind, tmp_path, capsys):
    export(run / "pipeline.config", run / "checkpoint", tmp_path / "out", formats=BOTH)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("checkpoint", "label_map.pbtxt", "model.onnx", "parity.json", "pipeline.config", "saved_model"),
    ]  # fmt: skip
    for found, expected in zip(
        load(tmp_path / "out" / "model.onnx")(images(), min_score=0.02),
        load(tmp_path / "out")(images(), min_score=0.02),
        strict=True,
    ):
        assert len(expected) > 0
        assert found.names == expected.names
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-4)  # pixels
    both = json.loads((tmp_path / "out" / "parity.json").read_text())
    assert [one["file"] for one in both] == ["saved_model", "model.onnx"]
    for compared in both:
        assert (compared["precision"], compared["extra"]) == ("float32", 0)
        assert compared["matched"] == compared["detections"] > 0
        assert compared["of"] == "the records for validation"
    printed = capsys.readouterr().out
    assert re.search(rf"model\.onnx +float32 .* {compared['detections']} +{compared['matched']} +0 ", printed)


def test_a_batch_finds_what_single_images_find(file):
    model = OnnxModel(file)
    batch = np.random.default_rng(0).integers(0, 256, [3, 21, 34, 3], np.uint8)
    together = model(batch)
    assert together["detection_boxes"].shape == (3, 5, 4)
    for i in range(3):
        for name, values in model(batch[i : i + 1]).items():
            np.testing.assert_allclose(values[0], together[name][i], atol=1e-6)


def test_dimensions_have_names_and_the_file_says_what_it_is(file):
    model = onnx.load(file)
    (images,) = model.graph.input
    shape = [one.dim_param or one.dim_value for one in images.type.tensor_type.shape.dim]
    assert (images.name, shape) == ("input_tensor", ["batch", "height", "width", 3])
    assert images.type.tensor_type.elem_type == TensorProto.UINT8
    for output in model.graph.output:
        assert output.type.tensor_type.shape.dim[0].dim_param == "batch"
        assert output.type.tensor_type.elem_type == TensorProto.FLOAT
    assert [one.version for one in model.opset_import if not one.domain] == [17]
    metadata = {one.key: one.value for one in model.metadata_props}
    assert metadata["boxtune.version"] == boxtune.__version__
    assert json.loads(metadata["boxtune.classes"]) == [{"id": 1, "name": "ball", "display_name": ""}]
    assert json.loads(metadata["boxtune.input"]) == {"dtype": "uint8", "size": [SIDE, SIDE]}


def test_it_suffices_alone(run, monkeypatch, tmp_path, capsys):
    """Names and thresholds are in it; those beside it have priority: an evaluation may have found them since."""
    monkeypatch.setattr(models, "build", lambda section, options=None: OneClass())
    best = Path(shutil.copytree(run / "checkpoint", tmp_path / "best"))
    write_thresholds(Thresholds(0, 9, 0.0, (ClassThreshold(1, "ball", 0.125, 0.5, 0.5),)), best)
    export(run / "pipeline.config", best, tmp_path / "out", formats=["onnx"])
    alone = Path(shutil.copy(tmp_path / "out" / "model.onnx", tmp_path / "alone.onnx"))
    model = load(alone)
    assert model.thresholds == {"ball": 0.125}
    assert str(alone) in model.min_scores.source
    (records,) = (run / "records").glob("validation-*")
    shutil.copy(records, tmp_path / "some.tfrecord")  # without a label map
    evaluate(saved_model=alone, data=tmp_path / "some.tfrecord", output_dir=tmp_path / "measured")
    assert json.loads((tmp_path / "measured" / "evaluation.json").read_text())["classes"] == ["ball"]
    write_thresholds(Thresholds(0, 9, 0.0, (ClassThreshold(1, "ball", 0.5, 0.5, 0.5),)), tmp_path)
    assert load(alone).thresholds == {"ball": 0.5}


@pytest.mark.thorough
def test_evaluation_measures_all_formats_alike(run, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(models, "build", lambda section, options=None: OneClass())
    export(run / "pipeline.config", run / "checkpoint", tmp_path / "out", formats=BOTH)
    tables = []
    for model in (tmp_path / "out", tmp_path / "out" / "model.onnx"):
        capsys.readouterr()
        assert main(["evaluate", "--model", str(model), "--output_dir", str(tmp_path / "measured")]) == 0
        tables.append(re.sub(r"[\d.]+ (s|seconds|images/s)", "", capsys.readouterr().out))
    assert tables[0] == tables[1]


def test_where_there_are_no_records_noise_is_compared(run, several, tmp_path, caplog):
    missing = [
        f"eval_input_reader[0].tf_record_input_reader.input_path=[{str(tmp_path / 'lost')!r}]",
        f"train_input_reader.tf_record_input_reader.input_path=[{str(tmp_path / 'lost')!r}]",
    ]
    export(run / "pipeline.config", run / "checkpoint", tmp_path / "out", formats=["onnx"], overrides=missing)
    (compared,) = json.loads((tmp_path / "out" / "parity.json").read_text())
    assert compared["of"] == "noise"
    assert "images of noise, since there are no records: " in caplog.text


class TestForTensorRT:
    def test_without_suppression_there_are_the_boxes_and_scores_of_all_anchors(self, run, several, tmp_path):
        export(run / "pipeline.config", run / "checkpoint", tmp_path, formats=["onnx"], nms="none")
        session = onnxruntime.InferenceSession(tmp_path / "model_without_nms.onnx")
        (given,) = session.get_inputs()
        assert (given.type, given.shape) == ("tensor(float)", ["batch", SIDE, SIDE, 3])
        shapes = {output.name: output.shape for output in session.get_outputs()}
        assert shapes == {
            "raw_detection_boxes": ["batch", 3, 4],
            "raw_detection_scores": ["batch", 3, 4],
        }
        (compared,) = json.loads((tmp_path / "parity.json").read_text())
        assert compared["matched"] == compared["detections"] > 0
        with pytest.raises(
            CheckpointError, match=r"takes input_tensor tensor\(float\) .*without --without_nms"
        ):
            load(tmp_path / "model_without_nms.onnx")

    @pytest.mark.thorough
    def test_the_plugin_is_written_and_said_not_to_have_run(self, run, several, tmp_path, capsys):
        export(run / "pipeline.config", run / "checkpoint", tmp_path, formats=["onnx"], nms="efficient_nms")
        assert "that plugin runs in TensorRT alone, and was not run" in capsys.readouterr().out
        model = onnx.load(tmp_path / "model_efficient_nms.onnx")
        assert model.graph.node[-1].op_type == "EfficientNMS_TRT"
        assert not (tmp_path / "model_without_nms.onnx").exists()
        with pytest.raises(CheckpointError, match="is damaged, or no ONNX file that can be run"):
            load(tmp_path / "model_efficient_nms.onnx")


class TestParity:
    @pytest.mark.thorough
    def test_a_file_that_falls_short_is_an_error_and_is_not_written(
        self, run, several, tmp_path, monkeypatch
    ):
        (tmp_path / "model.onnx").write_bytes(b"of an earlier export")
        real = formats.found_by_exported

        def worse(*given, **options):
            return (one._replace(scores=one.scores * 0.9) for one in real(*given, **options))

        monkeypatch.setattr(formats, "found_by_exported", worse)
        with pytest.raises(
            CheckpointError, match=r"^model\.onnx does not find what the checkpoint finds: of \d+ det"
        ):
            export(run / "pipeline.config", run / "checkpoint", tmp_path, formats=["onnx"])
        assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
        assert (tmp_path / "model.onnx").read_bytes() == b"of an earlier export"

    @pytest.mark.thorough
    @pytest.mark.parametrize("agnostic", [False, True])
    def test_rounding_may_decide_between_equal_scores(self, run, tmp_path, monkeypatch, capsys, agnostic):
        """The file scores one of the boxes that are nearly the same by a hair higher than the checkpoint does."""
        detector = Undecided()
        detector.suppress = replace(detector.suppress, class_agnostic=agnostic)
        monkeypatch.setattr(models, "build", lambda section, options=None: detector)
        real = detector.candidates
        traces = []

        def rounded(inputs, predictions):
            boxes, scores = real(inputs, predictions)
            traces.append(1)
            hair = [0, 1e-6, 0] if len(traces) == 1 else [1e-6, 0, 0]  # the file is written first
            return boxes, scores + np.float32(hair)[:, None]

        detector.candidates = rounded
        export(run / "pipeline.config", run / "checkpoint", tmp_path, formats=["onnx"])
        (compared,) = json.loads((tmp_path / "parity.json").read_text())
        assert compared["by_ties"] == (compared["matched"] < compared["detections"])
        assert ("rounding decides between equal scores" in capsys.readouterr().out) == compared["by_ties"]
        assert compared["by_ties"]

    def test_what_counts_as_the_same(self):
        box = [0.2, 0.2, 0.6, 0.6]
        assert self.compared([(box, 0, 0.9)], [(box, 0, 0.9)]) == (1, 1, 0)
        assert self.compared([(box, 0, 0.9)], [(box, 1, 0.9)]) == (1, 0, 1)
        assert self.compared([(box, 0, 0.9)], [(box, 0, 0.8999)]) == (1, 1, 0)
        assert self.compared([(box, 0, 0.9)], [(box, 0, 0.88)]) == (1, 0, 1)
        assert self.compared([(box, 0, 0.9)], [([0.2, 0.2, 0.6, 0.57], 0, 0.9)]) == (1, 1, 0)  # IoU 0.925
        assert self.compared([(box, 0, 0.9)], [([0.2, 0.2, 0.6, 0.55], 0, 0.9)]) == (1, 0, 1)  # IoU 0.875
        assert self.compared([(box, 0, 0.9), (box, 0, 0.9)], [(box, 0, 0.9)]) == (2, 1, 0)
        assert self.compared([(box, 0, 0.9)], [(box, 0, 0.9), (box, 0, 0.31)]) == (1, 1, 1)
        assert self.compared([(box, 0, 0.30002)], [(box, 0, 0.29998)]) == (
            1,
            1,
            0,
        )  # the highest is above 0.3
        assert self.compared([(box, 0, 0.9)], [(box, 0, 0.9), (box, 0, 0.30005)]) == (1, 1, 0)
        assert self.compared([(box, 0, 0.2), (box, 1, 0.09)], [(box, 0, 0.2)]) == (
            1,
            1,
            0,
        )  # above half of 0.2
        assert self.compared([], []) == (0, 0, 0)

    def test_what_a_file_cannot_return_is_not_missed(self):
        box = [0.2, 0.2, 0.6, 0.6]
        assert self.compared([(box, 0, 0.04)], []) == (1, 0, 0)
        assert self.compared([(box, 0, 0.04)], [], score_floor=0.05) == (0, 0, 0)
        assert self.compared([(box, 0, 0.09), (box, 1, 0.05)], [(box, 0, 0.09)], score_floor=0.05) == (
            1,
            1,
            0,
        )
        assert self.compared([(box, 0, 0.9), (box, 1, 0.4)], [(box, 0, 0.9)], score_floor=0.4) == (1, 1, 0)

    def test_what_rounds_may_choose_otherwise_in_a_crowd(self, caplog):
        same, other = ([([i / 50, 0.2, i / 50 + end, 0.6], 0, 0.9) for i in range(40)] for end in (0.3, 0.5))
        for precision in parity.BOUNDS:
            few = self.parity(same, [*same[:39], other[39]], precision=precision)
            assert few.falls_short == (precision == "float32")
            assert self.parity(same, other, precision=precision).falls_short

    def test_that_nothing_was_compared_is_said(self, caplog):
        parity.require([self.parity([([0.2, 0.2, 0.6, 0.6], 0, 0.04)], [], score_floor=0.05)])
        assert caplog.messages == [
            "x: nothing was compared, since the checkpoint finds nothing above 0.05 in 1 image."
        ]

    def compared(self, expected, found, **options):
        one = self.parity(expected, found, **options)
        return one.detections, one.matched, one.extra

    @staticmethod
    def parity(expected, found, **options):
        def of(rows):
            boxes, classes, scores = zip(*rows, strict=True) if rows else ([], [], [])
            return Found(None, (9, 9), np.reshape(boxes, (-1, 4)), np.int64(classes), np.float64(scores))

        return parity.compare([of(expected)], [of(found)], file="x", size=1, of="y", **options)


@pytest.mark.thorough
class TestFolder:
    def test_formats_of_the_same_checkpoint_stay_side_by_side(self, run, several, tmp_path, capsys):
        for name in ("saved_model", "onnx"):
            export(run / "pipeline.config", run / "checkpoint", tmp_path, formats=[name])
        assert {"saved_model", "model.onnx", "parity.json"} <= {path.name for path in tmp_path.iterdir()}
        compared = json.loads((tmp_path / "parity.json").read_text())
        assert [one["file"] for one in compared] == ["saved_model", "model.onnx"]

    def test_those_of_another_one_are_removed(self, run, several, tmp_path, caplog):
        export(run / "pipeline.config", run / "checkpoint", tmp_path, formats=["onnx"])
        changed = ["eval_config.num_visualizations=3"]
        export(run / "pipeline.config", run / "checkpoint", tmp_path, overrides=changed)
        assert not (tmp_path / "model.onnx").exists()
        assert "model.onnx: removed, since it is of another checkpoint" in caplog.text


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"formats": ["onx"]},
                '--format "onx" is not one of saved_model, onnx, tflite, openvino. Did you mean "onnx"?',
            ),
            ({"formats": []}, "no format is given; there are saved_model, onnx, tflite, openvino"),
            (
                {"formats": ["onnx"], "nms": "effcient"},
                '--nms "effcient" is not one of native, none, efficient_nms.',
            ),
            ({"nms": "none"}, "--nms and --without_nms are about ONNX files: add --format onnx"),
            ({"calibration_images": 20}, "--calibration_images are for int8 alone: add --precision int8"),
        ],
    )
    def test_flags(self, run, tmp_path, options, message):
        with pytest.raises(ConfigError, match=re.escape(message)):
            export(run / "pipeline.config", run / "checkpoint", tmp_path / "out", **options)
        assert not (tmp_path / "out").exists()

    def test_two_ends_of_a_file(self, capsys):
        with pytest.raises(SystemExit):
            cli.main(["export", "--output_dir", "o", "--nms", "efficient_nms", "--without_nms"])
        assert "--without_nms: not allowed with argument --nms" in capsys.readouterr().err

    @pytest.mark.parametrize("name", ["onnx", "onnxruntime", "tf2onnx"])
    def test_without_the_extra(self, run, tmp_path, monkeypatch, name):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ConfigError, match=rf'needs {name}, .* pip install "boxtune\[onnx\]"'):
            export(run / "pipeline.config", run / "checkpoint", tmp_path, formats=["onnx"])

    def test_what_onnx_cannot_express(self):
        detector = Several()
        detector.suppress = NonMaxSuppression(soft_nms_sigma=0.5)
        with pytest.raises(
            ConfigError, match=r"soft_nms_sigma is 0\.5, and ONNX's NonMaxSuppression drops boxes"
        ):
            refuse_suppression(detector)
        detector.finds = ("masks",)
        with pytest.raises(
            ConfigError, match="suppression keeps boxes only, and this model finds masks, too"
        ):
            refuse_suppression(detector)

    def test_images_of_any_size_for_tensorrt(self, run, several, tmp_path):
        varying = [
            "model.ssd.image_resizer={keep_aspect_ratio_resizer { min_dimension: 16 max_dimension: 32 }}"
        ]
        with pytest.raises(ConfigError, match="keep_aspect_ratio_resizer gives none: train with fixed_shape"):
            export(
                *(run / "pipeline.config", run / "checkpoint", tmp_path),
                formats=["onnx"], nms="none", overrides=varying,
            )  # fmt: skip


class TestHostileFiles:
    @pytest.mark.parametrize("size", [0, 1, 100, 0.5, 0.99])
    def test_cut_short(self, file, tmp_path, size):
        whole = file.read_bytes()
        path = tmp_path / "cut.onnx"
        path.write_bytes(whole[: size if isinstance(size, int) else int(size * len(whole))])
        self.fails(path, r"cut\.onnx: ")

    def test_something_else(self, tmp_path):
        path = tmp_path / "text.onnx"
        path.write_text("no model\n" * 100)
        self.fails(path, r"text\.onnx: is damaged, or no ONNX file")

    def test_not_there_a_folder_or_a_pipe(self, tmp_path):
        self.fails(tmp_path / "lost.onnx", r"lost\.onnx: no such model")
        (tmp_path / "folder.onnx").mkdir()
        self.fails(tmp_path / "folder.onnx", r"folder\.onnx")
        os.mkfifo(tmp_path / "pipe.onnx")
        self.fails(tmp_path / "pipe.onnx", "is a device or a pipe")

    def test_huge(self, tmp_path):
        with open(tmp_path / "huge.onnx", "wb") as stream:
            stream.truncate(3 << 30)
        self.fails(tmp_path / "huge.onnx", "has 3,221,225,472 bytes, and no ONNX file 2 GiB or more")

    def test_another_model(self, tmp_path):
        self.save(tmp_path, "float", [1, 3, 8, 8])
        self.fails(tmp_path / "other.onnx", r"takes images tensor\(float\) \[1, 3, 8, 8\], not images uint8")
        self.save(tmp_path, "uint8", ["b", "h", "w", 3])
        self.fails(
            tmp_path / "other.onnx",
            "returns no detection_boxes, detection_classes, detection_scores, num_det",
        )

    def test_what_fails_or_returns_nonsense_names_the_image(self, file, tmp_path):
        model = onnx.load(file)
        for node in model.graph.node:
            if node.op_type == "NonMaxSuppression":
                node.input[2] = "absent"
        onnx.save(model, tmp_path / "broken.onnx")
        self.fails(tmp_path / "broken.onnx", r"broken\.onnx: is damaged")
        model = onnx.load(file)
        for node in model.graph.node:
            if "detection_scores" in node.output:
                node.op_type = "Acosh"  # which is none below 1
        onnx.save(model, tmp_path / "infinite.onnx")
        with pytest.raises(CheckpointError, match="the image: detection_scores of the model are not finite"):
            load(tmp_path / "infinite.onnx")(images()[0])

    @pytest.mark.parametrize(
        "text",
        ["{", "7", '[{"id": 0, "name": "a"}]', '[{"id": 1}]', '[{"id": 1e9, "name": "a"}]', "[" * 100_000],
    )
    def test_damaged_metadata(self, file, tmp_path, text):
        model = onnx.load(file)
        for one in model.metadata_props:
            if one.key == CLASSES:
                one.value = text
        onnx.save(model, tmp_path / "damaged.onnx")
        self.fails(tmp_path / "damaged.onnx", r"damaged\.onnx: its metadata boxtune\.classes are damaged")

    @staticmethod
    def save(folder, dtype, shape):
        elem = TensorProto.FLOAT if dtype == "float" else TensorProto.UINT8
        node = helper.make_node("Identity", ["images"], ["out"])
        infos = [helper.make_tensor_value_info(name, elem, shape) for name in ("images", "out")]
        graph = helper.make_graph([node], "other", infos[:1], infos[1:])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, folder / "other.onnx")

    @staticmethod
    def fails(path, message):
        with pytest.raises(BoxtuneError, match=message) as caught:
            load(path)
        assert "\n" not in str(caught.value)


WITHOUT_TENSORFLOW = """
import sys, time

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "keras", "tf2onnx", "onnx"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import boxtune

model = boxtune.load(sys.argv[1])
print(model(sys.argv[2], min_score=0).names[0], time.process_time())
if len(sys.argv) > 3:
    boxtune.predict(sys.argv[1], sys.argv[2], sys.argv[3], min_score=0.01)
"""


def test_it_runs_where_tensorflow_is_not_installed_and_starts_in_a_second(run, file):
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, str(file), str(run / "photos" / "images" / "00.jpg")]
    if not Path(command[-1]).exists():
        command[-1] = str(next(path for path in (run / "photos").rglob("00.*") if path.suffix != ".xml"))
    seconds = []
    for _ in range(3):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        name, taken = done.stdout.split()
        assert name == "ball"
        seconds.append(float(taken))
    assert min(seconds) < 1  # of the processor, also to look at an image


def test_predict_needs_no_tensorflow_either(run, file, tmp_path):
    (image,) = (path for path in (run / "photos").rglob("00.*") if path.suffix != ".xml")
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, str(file), str(image), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(json.loads((tmp_path / "detections.json").read_text())) == 1


@pytest.mark.shared
@pytest.mark.large
def test_real_photographs_are_seen_as_by_the_checkpoint(shared, tmp_path):
    model = shared / "checkpoints" / "ssd_mobilenet_v2_fpnlite_224x224_a050_coco"
    export(model / "pipeline.config", model, tmp_path, formats=BOTH)
    photographs = sorted((shared / "data" / "voc" / "raccoon" / "images").glob("*.jpg"))[:60]
    sources = [(load(tmp_path / name), name) for name in ("", "model.onnx")]
    expected, found = (
        [
            Found(
                None,
                (one.height, one.width),
                one.boxes / [[one.height, one.width] * 2],
                one.classes,
                one.scores,
            )
            for one in loaded(photographs, min_score=0.2)
        ]
        for loaded, _ in sources
    )
    compared = parity.compare(expected, found, file="model.onnx", size=1, of="photographs")
    assert compared.detections > 100
    assert (compared.matched, compared.extra) == (compared.detections, 0)
    assert compared.largest_box_difference < 1e-5
