"""How a run was made and how it has learned, read from the files in its model directory."""

import json

import pytest

from boxtune import config
from boxtune.errors import DataError
from boxtune.run_history import MAX_POINTS, Size, read_history, run_of


def a_run(folder, steps=4):
    """A run of SSD at 300 x 200 pixels that was started again after step 2, on records of a conversion."""
    pipeline = config.recipe("ssd_mobilenet_v2_fpn_keras")
    pipeline.model.ssd.num_classes = 1
    resizer = pipeline.model.ssd.image_resizer.fixed_shape_resizer
    resizer.width, resizer.height = 300, 200
    pipeline.train_config.batch_size = 8
    folder.mkdir()
    config.write(pipeline, folder / "complete_pipeline.config")
    lines = [{"step": n, "Loss/total_loss": 10 - n / 100, "time": 0} for n in range(1, steps + 1)]
    values = {
        "DetectionBoxes_Precision/mAP": 0.5,
        "DetectionBoxes_Precision/mAP@.50IOU": -1,
        "Loss/total_loss": None,
    }
    lines.append({"step": steps, "evaluation": values})
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    records = {"a.tfrecord": {"records": 3}, "b.tfrecord": {"records": 4}}
    data = {
        "training": {str(folder / "records" / name): one for name, one in records.items()},
        "evaluation": {str(folder / "elsewhere.record"): {"records": 2}},
    }
    entry = {
        "time": "2026-01-02T03:04:05+0000",
        "command": ["/usr/bin/boxtune", "retrain", "my photos"],
        "data": data,
    }
    (folder / "run.json").write_text(json.dumps([entry, entry | {"time": "later"}]))
    (folder / "records").mkdir()
    report = {"parts": {"train": {"files": ["b.tfrecord", "a.tfrecord"], "objects": 9}}}
    (folder / "records" / "report.json").write_text(json.dumps(report))
    return folder


def test_all_that_is_told(tmp_path):
    history = read_history(a_run(tmp_path / "mine"))
    assert history.model == "ssd_mobilenet_v2_fpn_keras, 300 x 200 pixels"
    assert history.start == "random weights"
    assert history.time == "2026-01-02T03:04:05+0000"
    assert history.command == "boxtune retrain 'my photos'"
    assert history.batch_size == 8
    # Nothing says how many objects the records for evaluation have.
    assert history.parts == {"training": Size(7, 9), "evaluation": Size(2, None)}
    assert (history.steps, history.losses) == ([1, 2, 3, 4], [9.99, 9.98, 9.97, 9.96])
    assert (history.evaluated, history.mean_average_precision, history.ap50) == ([4], [0.5], [None])


def test_a_long_curve_is_of_means(tmp_path):
    history = read_history(a_run(tmp_path / "mine", steps=2 * MAX_POINTS))
    assert history.steps == list(range(2, 2 * MAX_POINTS + 1, 2))
    assert history.losses[0] == pytest.approx((9.99 + 9.98) / 2)


def test_which_run_has_written_a_checkpoint(tmp_path):
    run = a_run(tmp_path / "mine")
    assert run_of(str(run / "ckpt-2")) == run_of(run / "best" / "ckpt-1") == run
    assert run_of(run / "exported" / "ckpt-0") is None


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(DataError, match=r"holds no run: there is no run\.json"):
        read_history(tmp_path)


@pytest.mark.parametrize(
    "report", ["", "[]", '{"parts": 3}', '{"parts": {"train": {"files": ["a.tfrecord"]}}}']
)
def test_a_report_of_something_else_is_no_fault(tmp_path, report):
    run = a_run(tmp_path / "mine")
    (run / "records" / "report.json").write_text(report)
    assert read_history(run).parts["training"] == Size(7, None)
