"""Every verb that works with a detector refuses what boxtune does not have, with file and line."""

from pathlib import Path

import pytest

import boxtune
from boxtune.errors import ConfigError
from boxtune.evaluate import evaluate_checkpoints
from boxtune.lr_range import lr_range

TEXT = """model {
  ssd {
    num_classes: 1
    feature_extractor { type: "ssd_mobilenet_v2_fpn_keras" }
    explicit_background_class: true
  }
}
"""


def configure(folder: Path, pipeline: Path) -> None:
    (folder / "label_map.pbtxt").write_text("item { id: 1 name: 'cat' }", encoding="utf-8")
    boxtune.configure(folder, checkpoint=pipeline.parent)


VERBS = {
    "train": lambda folder, pipeline: boxtune.train(pipeline, folder),
    "lr-range": lambda folder, pipeline: lr_range(pipeline, folder),
    "evaluate": lambda folder, pipeline: boxtune.evaluate(pipeline, folder / "ckpt-0"),
    "evaluate_checkpoints": lambda folder, pipeline: evaluate_checkpoints(
        pipeline, folder, output_dir=folder
    ),
    "export": lambda folder, pipeline: boxtune.export(pipeline, folder / "ckpt-0", folder / "exported"),
    "configure": configure,
}


@pytest.mark.parametrize("verb", VERBS)
def test_refused_with_file_and_line(verb, tmp_path):
    pipeline = tmp_path / "pipeline.config"
    pipeline.write_text(TEXT, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        VERBS[verb](tmp_path, pipeline)
    assert str(caught.value) == (
        f"{pipeline}:5: model.ssd.explicit_background_class: boxtune does not have a background among num_classes yet; "
        "leave it false; the API under TensorFlow 2 takes each class for the one before it then, "
        "unless scores are labels."
    )


@pytest.mark.parametrize("verb", ["train", "lr-range"])
def test_a_step_of_augmentation_with_file_and_line(verb, tmp_path):
    pipeline = tmp_path / "pipeline.config"
    step = "train_config {\n  data_augmentation_options { subtract_channel_mean {} }\n}\n"
    pipeline.write_text(TEXT.replace("    explicit_background_class: true\n", "") + step, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        VERBS[verb](tmp_path, pipeline)
    assert str(caught.value) == (
        f"{pipeline}:8: train_config.data_augmentation_options[0].subtract_channel_mean: boxtune does not have "
        "augmentation that normalizes images yet; remove it: detectors take images in [0, 255] and normalize them "
        "themselves."
    )


def test_an_exported_model_may_have_unsupported_fields(tmp_path):
    pipeline = tmp_path / "pipeline.config"
    pipeline.write_text(TEXT, encoding="utf-8")
    with pytest.raises(ConfigError, match="No configuration says so: give --data"):
        boxtune.evaluate(saved_model=tmp_path)


@pytest.mark.parametrize("beside", [True, False])
def test_an_evaluation_names_a_field_of_eval_config(beside, tmp_path):
    pipeline = tmp_path / "pipeline.config"
    pipeline.write_text("eval_config {\n  keypoint_edge { start: 0 end: 1 }\n}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        boxtune.evaluate(None if beside else pipeline, saved_model=tmp_path)
    assert str(caught.value).startswith(
        f"{pipeline}:2: eval_config.keypoint_edge: boxtune does not have lines"
    )
