"""The verb `benchmark`: what it says of which model, and that a model that fails is named in one line; no times."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

import bright_model
from boxtune import machine
from boxtune.benchmark import BATCH_SIZES, Benchmark, Row, _exported, benchmark
from boxtune.benchmarking import networks, processes, worker
from boxtune.benchmarking.networks import network_of
from boxtune.cli import main
from boxtune.errors import BoxtuneError
from boxtune.evaluation.exported import load_exported
from boxtune.runtimes.onnx import session_of
from serving import red_model
from voc_folder import image_file


class _Finder(tf.Module):
    """Finds in every image one box, scored by how bright it is."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])
    def find(self, images):
        scores = tf.reduce_mean(tf.cast(images, tf.float32), axis=[1, 2, 3])[:, None] / 255
        boxes = tf.concat([tf.zeros_like(scores)] * 2 + [tf.ones_like(scores)] * 2, axis=-1)[:, None]
        return {
            "num_detections": tf.ones_like(scores)[:, 0],
            "detection_boxes": boxes,
            "detection_classes": tf.ones_like(scores),
            "detection_scores": scores,
            "raw_detection_boxes": boxes,
            "raw_detection_scores": scores[..., None],
        }


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """What an export in two formats is, as far as this verb looks at it."""
    folder = tmp_path_factory.mktemp("mine") / "exported"
    finder = _Finder()
    tf.saved_model.save(finder, str(folder / "saved_model"), {"serving_default": finder.find})
    bright_model.write(folder / "model.onnx")
    return folder


@pytest.fixture(scope="module")
def file(exported):
    return exported / "model.onnx"


@pytest.mark.parametrize(
    "names",
    [["model.onnx"], pytest.param(["saved_model", "model.onnx"], marks=pytest.mark.thorough)],
    ids="-".join,
)
def test_each_format_has_its_rows(exported, names, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    for name in names:
        copy = shutil.copytree if (exported / name).is_dir() else shutil.copy
        copy(exported / name, tmp_path / "mine" / name)
    for number in range(3):
        image_file(tmp_path / "images" / f"{number}.png", width=30 + number)
    flags = ["--images", tmp_path / "images", "--rounds", 2, "--threads", 1, "--json", tmp_path / "out.json"]
    assert main(list(map(str, ["benchmark", tmp_path / "mine", *flags]))) == 0

    written = json.loads((tmp_path / "out.json").read_text())
    assert (written["images"], written["rounds"]) == ("2 images", 2)
    assert written["machine"] == machine.describe() | {"load": written["machine"]["load"]}
    paths = [str(tmp_path / "mine" / name) for name in names]
    rows = written["rows"]
    assert [(row["model"], row["threads"], row["batch_size"]) for row in rows] == [
        (path, 1, size) for path in paths for size in (1, 8)
    ]
    for row in rows:
        assert 2 <= row["calls"] <= 2 * worker.CALLS
        assert 0 < row["median_ms"] <= row["p90_ms"] <= row["p99_ms"]
        assert row["at_a_time"] == row["batch_size"]
        assert row["suppression_share"] == max(0, 1 - row["network_ms"] / row["median_ms"])
        assert row["load_seconds"] > 0
        assert row["peak_memory_mib"] > 10
    assert rows[-1]["runtime"] == f"onnxruntime {onnxruntime.__version__}"
    if len(names) == 2:
        assert rows[0]["runtime"] == f"tensorflow {tf.__version__}"
        assert (
            rows[0]["peak_memory_mib"] > 2 * rows[2]["peak_memory_mib"]
        )  # TensorFlow is in its process alone

    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "2 images, 2 rounds; times are milliseconds an image"
    assert [line.split()[0] for line in lines[4:]] == [
        "model",
        *(path for path in paths for _ in BATCH_SIZES),
    ]
    assert len({len(line) for line in lines[4:]}) == 1  # they are aligned


def test_numbers_of_threads_are_measured_side_by_side(file):
    rows = benchmark(file, rounds=1, size=16, threads=(1, 2)).rows
    assert [(row.threads, row.batch_size) for row in rows] == [(1, 1), (1, 8), (2, 1), (2, 8)]


def test_the_number_of_threads_is_that_of_the_runtime(file):
    sessions = [session_of(file.read_bytes(), threads) for threads in (None, 3)]
    by_itself = onnxruntime.SessionOptions().intra_op_num_threads
    assert [one.get_session_options().intra_op_num_threads for one in sessions] == [by_itself, 3]


def test_the_exported_model_of_a_training_is_measured(exported, tmp_path):
    shutil.copytree(exported, tmp_path / "mine" / "exported", ignore=shutil.ignore_patterns("saved_model"))
    (tmp_path / "mine" / "exported" / "model_without_nms.onnx").touch()  # for TensorRT
    assert _exported(tmp_path / "mine") == [tmp_path / "mine" / "exported" / "model.onnx"]


@pytest.mark.parametrize("name", ["saved_model", "model.onnx"])
def test_a_network_alone_is_what_is_before_suppression(exported, name):
    images = np.random.default_rng(0).integers(0, 256, [2, 5, 7, 3], np.uint8)
    boxes, scores = network_of(load_exported(exported / name), None)(images).values()
    np.testing.assert_array_equal(boxes, [[[0, 0, 1, 1]]] * 2)
    np.testing.assert_allclose(scores, images.mean((1, 2, 3)).reshape(2, 1, 1) / 255, rtol=1e-5)


def test_nothing_behind_the_network_is_left_in_an_onnx_file(file):
    graph = onnx.load(file).graph
    networks._cut(graph, ["scores"])
    assert [node.op_type for node in graph.node] == ["Reshape", "Cast", "ReduceMean", "Div", "Reshape"]
    assert [output.name for output in graph.output] == ["scores"]


def test_what_a_loop_takes_from_around_it_stays():
    body = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["inner"], ["out"])], "body", [], [])
    loop = onnx.helper.make_node("Loop", ["count"], ["boxes"], body=body)
    made = [onnx.helper.make_node("Constant", [], [name]) for name in ("count", "inner", "other")]
    graph = onnx.helper.make_graph([*made, loop], "around", [], [])
    networks._cut(graph, ["boxes"])
    assert [node.output[0] for node in graph.node] == ["count", "inner", "boxes"]


def test_a_model_that_cannot_be_cut_says_why(tmp_path):
    other = bright_model.write(tmp_path / "other.onnx", boxes="corners")
    result = benchmark(other, rounds=1, size=16)
    assert {(row.network_ms, row.suppression_share) for row in result.rows} == {(None, None)}
    *_, first, last, note = str(result).splitlines()
    assert [line.split()[7] for line in (first, last)] == ["-", "-"]
    reason = "in the ONNX file there is nothing to suppress, or it is not boxtune's"
    assert note == f"- {other}: the share of suppression is not known: {reason}"


def test_a_model_for_one_image_gets_a_batch_one_by_one():
    given = []

    def model(images):
        given.append(images.shape)
        return {}

    worker._timed(model, np.zeros([8, 2, 3, 3], np.uint8), at_a_time=1)
    assert set(given) == {(1, 2, 3, 3)}
    assert len(given) == 8 * (worker.CALLS + 1)
    rows = [
        Row("a.tflite", "litert", None, size, 1, 5, 1.0, 2.0, 3.0, 1000.0, None, "why", 0.1, None)
        for size in BATCH_SIZES
    ]
    lines = str(Benchmark(machine.describe(), "an image", 1, rows)).splitlines()
    assert [line.split()[:3] for line in lines[5:7]] == [
        ["a.tflite", "default", "1"],
        ["a.tflite", "default", "8*"],
    ]
    assert lines[7] == "* The model takes fewer images at a time: it was given them one after the other."


@pytest.mark.thorough
def test_a_saved_model_for_one_image(tmp_path):
    folder = red_model.export(tmp_path / "reds")
    one, eight = benchmark(folder, rounds=1, size=16).rows
    assert (one.at_a_time, eight.at_a_time) == (1, 1)
    assert one.why_no_network == "the SavedModel returns no raw_detection_boxes, raw_detection_scores"


def test_a_slow_model_has_fewer_calls(monkeypatch):
    monkeypatch.setattr(worker, "SECONDS", 0)
    assert len(worker._timed(lambda images: {}, np.zeros([1, 2, 2, 3], np.uint8), at_a_time=1)) == 1


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (["absent"], {}, "absent: no such model"),
        ([], {}, "needs a model"),
        (["photos"], {}, r"photos: no exported model here.*boxtune export --model_dir \S*photos --output_dir"),
        (["damaged.onnx"], {}, r"damaged\.onnx: is damaged, or no ONNX file"),
        (["model.onnx"], {"rounds": 0}, "rounds is 0; it must be in 1 to"),
        (["model.onnx"], {"size": 0}, "size is 0"),
        (["model.onnx"], {"size": 10**6}, "size is 1000000; it must be in 1 to 8,192"),
        (["model.onnx"], {"threads": [1, 0]}, "threads is 0"),
        (["model.onnx"], {"images": "empty"}, "empty: no images here"),
        (["model.onnx"], {"images": "broken"}, r"broken\S*0\.png cannot be decoded|broken\S*0\.png: "),
        (["model.onnx"], {"json": "model.onnx/out.json"}, "model.onnx cannot be written to"),
        (["narrow.onnx"], {"images": "photos"}, r"narrow\.onnx: the model fails: "),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_named(file, tmp_path, monkeypatch, arguments, options, message):
    monkeypatch.chdir(tmp_path)
    shutil.copy(file, "model.onnx")
    Path("damaged.onnx").write_bytes(file.read_bytes()[:100])
    bright_model.write(Path("narrow.onnx"), multiple=32)
    image_file(Path("photos/0.png"), width=32)
    image_file(Path("photos/1.png"), width=33)
    Path("numpy.py").write_text("raise ImportError")  # is not imported
    Path("empty").mkdir()
    Path("broken").mkdir()
    Path("broken/0.png").write_bytes(b"no image")
    with pytest.raises(BoxtuneError, match=message) as caught:
        benchmark(arguments, **{"rounds": 2, "size": 16} | options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("flags", [["--threads", "0"], ["--rounds", "0"], ["--threads", "1,x"]])
def test_flags_that_are_refused(file, capsys, flags):
    status = 0
    try:
        status = main(["benchmark", str(file), *flags])
    except SystemExit as exit_:
        status = exit_.code
    assert status == 2
    assert flags[0].strip("-") in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os; os.abort()", "by SIGABRT$"),
        (
            "import sys; print('free(): invalid size', file=sys.stderr); sys.exit(3)",
            r"with status 3: free\(\): invalid",
        ),
    ],
)
def test_a_model_that_ends_its_process_is_named(file, tmp_path, monkeypatch, code, message):
    monkeypatch.setattr(processes, "COMMAND", (sys.executable, "-c", code))
    with pytest.raises(BoxtuneError, match=rf"model\.onnx: the process that measured it has ended {message}"):
        benchmark(file, rounds=1, json=tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


def test_a_process_is_gone_when_it_is_closed(file):
    process = processes.Process(worker.Order(str(file), 1, False, BATCH_SIZES, 16))
    assert process.loaded["at_a_time"] == [1, 8]
    process._process.kill()
    with pytest.raises(BoxtuneError, match="SIGKILL"):
        process.ask({"image": None})
    process.close()
    assert process._process.returncode is not None
