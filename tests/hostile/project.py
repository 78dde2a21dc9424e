"""A small project with every kind of file that boxtune reads, and every verb that reads it."""

import contextlib
import hashlib
import io
import json
import logging
import shutil
from pathlib import Path

from boxtune import cli
from tiny_run import SIDE

OVERRIDES = (
    "--set", "train_config.data_augmentation_options=[]",
    "--set", f"model.ssd.image_resizer.fixed_shape_resizer={{height: {SIDE} width: {SIDE}}}",
)  # fmt: skip


def verbs(folder: Path) -> dict[str, list[object]]:
    """Return the arguments of each verb in a project; what it makes anew it writes beside what is there."""
    configured = ("--pipeline_config_path", folder / "pipeline.config", "--checkpoint_every_n", 1)
    model = folder / "model"
    return {
        "draw": ["draw", folder / "drawn", "--num_images", 10],
        "check": ["check", folder / "photos", "--page", folder / "check.html", "--report", folder / "check.json"],
        "check records": ["check", folder / "records", "--format", "tfrecord"],
        "convert": ["convert", folder / "photos", "--output_dir", folder / "converted"],
        "convert to coco": ["convert", folder / "photos", "--to", "coco", "--output_dir", folder / "coco"],
        "convert again": ["convert", folder / "photos", "--output_dir", folder / "records"],
        "config": [
            "config", folder / "records", "--checkpoint", folder / "exported", "--output", folder / "new.config"
        ],
        "train": ["train", *configured, "--model_dir", folder / "fresh"],
        "resume": ["train", *configured, "--model_dir", model, "--num_train_steps", 3],
        "warm start": [
            "train", *configured, "--model_dir", folder / "fresh", "--evaluate_every_n", 0,
            "--set", f"train_config.fine_tune_checkpoint={folder / 'exported' / 'checkpoint'}",
            "--set", "train_config.fine_tune_checkpoint_type=full",
            "--set", "train_config.fine_tune_checkpoint_version=V2",
        ],
        "lr-range": ["lr-range", *configured[:2], "--output_dir", folder / "range", "--num_steps", 11],
        "evaluate": ["evaluate", "--model_dir", model],
        "evaluate the best": [
            "evaluate", "--model_dir", model, "--which", "best", "--compare_with", model / "evaluation.json",
            "--output_dir", folder / "measured",
        ],
        "evaluate exported": [
            "evaluate", "--saved_model", folder / "exported" / "saved_model", "--data", folder / "photos",
            "--output_dir", folder / "measured",
        ],
        "evaluate detections": [
            "evaluate", "--detections", folder / "detections.json", "--data", folder / "photos",
            "--output_dir", folder / "measured",
        ],
        "export": ["export", "--model_dir", model, "--output_dir", folder / "exported again"],
        "export the newest": [
            "export", "--model_dir", model, "--which", "newest", "--output_dir", folder / "exported again",
        ],
        "predict": ["predict", folder / "exported", folder / "photos" / "images", "--output_dir", folder / "found"],
        "retrain": ["retrain", folder / "photos", "--model_dir", folder / "mine", "--num_steps", 1, *OVERRIDES],
    }  # fmt: skip


def run(arguments: list[object]) -> tuple[int, str]:
    """Run the command line; return its status and all that it wrote."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    logging.getLogger("boxtune").addHandler(handler)
    try:
        with contextlib.redirect_stderr(written), contextlib.redirect_stdout(written):
            status = cli.main(list(map(str, arguments)))
    finally:
        logging.getLogger("boxtune").removeHandler(handler)
    return status, written.getvalue()


READ_BY = {
    "photos/images/practice-0001.jpg": ["check", "predict"],
    "photos/annotations/practice-0001.xml": ["check"],
    "detections.json": ["evaluate detections"],
    "records/label_map.pbtxt": ["config", "train"],
    "records/split.json": ["convert again"],
    "records/train-*.tfrecord": ["config", "train", "check records"],
    "records/validation-*.tfrecord": ["evaluate"],
    "pipeline.config": ["train"],
    "exported/checkpoint/*": ["warm start"],
    "exported/pipeline.config": ["config"],
    "exported/label_map.pbtxt": ["predict"],
    "exported/thresholds.json": ["predict"],
    "exported/saved_model/saved_model.pb": ["predict", "evaluate exported"],
    "exported/saved_model/variables/*": ["predict"],
    "model/best/best.json": ["resume"],
    "model/best/c*": ["evaluate the best"],
    "model/best/thresholds.json": ["export"],
    "model/checkpoint": ["export the newest", "resume"],
    "model/ckpt-2.*": ["export the newest", "resume"],
    "model/complete_pipeline.config": ["export"],
    "model/evaluation.json": ["evaluate the best"],
    "model/metrics.jsonl": ["resume"],
    "model/model_label_map.pbtxt": ["export", "resume"],
    "model/run.json": ["resume"],
}
"""Which verbs read the files of the project; of many alike one."""

NOT_READ = (
    "photos/images/*", "photos/annotations/*",  # the others
    "records/report.json",
    "records/*.list",  # for people, and for --validation_files
    "exported/parity.json",  # but to keep what it says of older files
    "exported/saved_model/fingerprint.pb",  # of TensorFlow's own, which does without it
    "model/ckpt-1.*",  # an older checkpoint
    "model/train/*", "model/eval/*",  # for TensorBoard
)  # fmt: skip


def make(folder: Path) -> None:
    """Make the project; a small detector has to stand in for the configured one."""
    steps = [
        ["draw", folder / "photos", "--num_images", 10],
        ["convert", folder / "photos", "--output_dir", folder / "records"],
        ["config", folder / "records", "--output", folder / "pipeline.config", "--num_steps", 2, "--batch_size", 2,
         "--model", "ssd_mobilenet_v2_keras", *OVERRIDES],
        ["train", "--pipeline_config_path", folder / "pipeline.config", "--model_dir", folder / "model",
         "--checkpoint_every_n", 1, "--evaluate_every_n", 1],
        ["export", "--model_dir", folder / "model", "--output_dir", folder / "exported"],
    ]  # fmt: skip
    for arguments in steps:
        status, errors = run(arguments)
        assert status == 0, errors
    names = sorted(path.name for path in (folder / "photos" / "images").iterdir())
    found = [{"image_id": name, "category_id": 1, "bbox": [4, 4, 90, 60], "score": 0.5} for name in names]
    (folder / "detections.json").write_text(json.dumps(found))


def copy(made: Path, folder: Path) -> Path:
    """Copy a project, so that the paths in it lead to the copy."""
    shutil.copytree(made, folder)
    for path in (*folder.rglob("*.config"), *folder.rglob("checkpoint")):
        if path.is_file():
            path.write_text(path.read_text().replace(str(made), str(folder)))
    return folder


def contents(folder: Path) -> dict[str, str]:
    """Return a hash of every file below a folder, by its path from there."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
