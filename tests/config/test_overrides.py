"""Overrides: what each path and value sets, and what is said of those that lead nowhere."""

import pytest

from boxtune import config
from boxtune.errors import ConfigError

BASE = """
    model { ssd {
      num_classes: 90
      feature_extractor { fpn { min_level: 4 } }
      anchor_generator { ssd_anchor_generator { aspect_ratios: [1.0, 2.0] } }
    } }
    train_config {
      batch_size: 128
      data_augmentation_options { random_horizontal_flip {} }
      optimizer { adam_optimizer { epsilon: 1.0 } }
    }
    eval_input_reader { label_map_path: "old" shuffle: false }
"""

# The override, and the value that the path then has (a number, text, or the text form of a message).
SET = [
    ("train_config.batch_size=8", "train_config.batch_size", 8),
    (" train_config.batch_size = 8 ", "train_config.batch_size", 8),
    ("model.ssd.num_classes=-1", "model.ssd.num_classes", -1),
    ("train_config.gradient_clipping_by_norm=.5", "train_config.gradient_clipping_by_norm", 0.5),
    ("train_config.use_bfloat16=true", "train_config.use_bfloat16", True),
    ("train_config.use_bfloat16=false", "train_config.use_bfloat16", False),
    ("train_config.fine_tune_checkpoint_version=V2", "train_config.fine_tune_checkpoint_version", 2),
    ("train_config.fine_tune_checkpoint=a/ckpt-0", "train_config.fine_tune_checkpoint", "a/ckpt-0"),
    ('train_config.fine_tune_checkpoint="a b"', "train_config.fine_tune_checkpoint", "a b"),
    ("train_config.fine_tune_checkpoint='a=b'", "train_config.fine_tune_checkpoint", "a=b"),
    (
        "train_config.fine_tune_checkpoint=C:\\new\\ckpt-0",
        "train_config.fine_tune_checkpoint",
        "C:\\new\\ckpt-0",
    ),
    ('train_config.fine_tune_checkpoint=a"b', "train_config.fine_tune_checkpoint", 'a"b'),
    ("train_config.fine_tune_checkpoint=[a]", "train_config.fine_tune_checkpoint", "[a]"),
    ("train_config.fine_tune_checkpoint=", "train_config.fine_tune_checkpoint", ""),
    ("eval_input_reader[0].label_map_path=new", "eval_input_reader.0.label_map_path", "new"),
    ("eval_config.metrics_set=pascal", "eval_config.metrics_set", ["pascal"]),
    ("eval_config.metrics_set=[a, b c]", "eval_config.metrics_set", ["a", "b c"]),
    ("""eval_config.metrics_set=["a,b", 'c']""", "eval_config.metrics_set", ["a,b", "c"]),
    ("eval_config.metrics_set=[]", "eval_config.metrics_set", []),
    (
        "model.ssd.anchor_generator.ssd_anchor_generator.aspect_ratios=[3, 0.5, 0.25]",
        "model.ssd.anchor_generator.ssd_anchor_generator.aspect_ratios",
        [3.0, 0.5, 0.25],
    ),
    (
        "model.ssd.anchor_generator.ssd_anchor_generator.aspect_ratios[1]=4",
        "model.ssd.anchor_generator.ssd_anchor_generator.aspect_ratios",
        [1.0, 4.0],
    ),
    ("train_config.data_augmentation_options=[]", "train_config.data_augmentation_options", []),
    ("eval_input_reader[0]={ name: 'b' }", "eval_input_reader.0", 'name: "b"\n'),
    # A member of a oneof takes the place of the other.
    (
        "model.ssd.feature_extractor.bifpn.num_filters=64",
        "model.ssd.feature_extractor",
        "bifpn {\n  num_filters: 64\n}\n",
    ),
    # A whole message replaces the old one; nothing of that remains.
    (
        "train_config.optimizer={ adam_optimizer { learning_rate {} } }",
        "train_config.optimizer",
        "adam_optimizer {\n  learning_rate {\n  }\n}\n",
    ),
    ("train_config.optimizer={}", "train_config.optimizer", ""),
]

REFUSED = [
    ("train_config.batchsize=8", 'TrainConfig has no field "batchsize". Did you mean "batch_size"?'),
    (
        "train_confg.batch_size=8",
        'TrainEvalPipelineConfig has no field "train_confg". Did you mean "train_config"?',
    ),
    (
        "eval_config.super_categories[0]={ key: 'pets' }",
        '"super_categories" is a map; set all of it, as in super_categories={ key: ... value: ... }.',
    ),
    (
        "eval_config.super_categories.pets=cat",
        '"super_categories" has no fields: it is { key: ... value: ... }.',
    ),
    ("train_config.batch_size=x", 'batch_size has to be a whole number from 0 to 4294967295, not "x".'),
    ("train_config.batch_size=-8", 'batch_size has to be a whole number from 0 to 4294967295, not "-8".'),
    (
        "train_config.batch_size=",
        "batch_size has to be a whole number from 0 to 4294967295, which is missing.",
    ),
    ("train_config.batch_size=8 num_steps: 9", '"8 num_steps: 9" is more than one value.'),
    ("train_config.use_bfloat16=maybe", 'use_bfloat16 has to be true or false, not "maybe".'),
    (
        "train_config.gradient_clipping_by_norm=inf",
        "gradient_clipping_by_norm is inf; it has to be a finite number of 32 bits.",
    ),
    (
        "model.ssd.feature_extractor.conv_hyperparams.activation=RELU6",
        'Activation has no value "RELU6"; it is NONE, RELU, RELU_6 or SWISH. Did you mean "RELU_6"?',
    ),
    ("train_config.optimizer=adam", 'optimizer has to be { ... } with fields of Optimizer, not "adam".'),
    (
        "train_config.optimizer={ adam_optimiser {} }",
        'Optimizer has no field "adam_optimiser". Did you mean "adam_optimizer"?',
    ),
    ("train_config.optimizer={", 'Expected "}".'),
    ("train_config.batch_size.x=1", '"batch_size" has no fields: it is a whole number from 0 to 4294967295.'),
    ("train_config.batch_size[0]=1", '"batch_size" is not a list; write it without [0].'),
    (
        "eval_input_reader.shuffle=true",
        '"eval_input_reader" is a list; say which item, as in eval_input_reader[0].',
    ),
    (
        "eval_input_reader[1].shuffle=true",
        'there is no "eval_input_reader[1]": the list has 1 item, counted from 0.',
    ),
    ("eval_input_reader[0]=[{}, {}]", '"eval_input_reader[0]" has to be one item, not 2.'),
    (
        "eval_input_reader[-1].shuffle=true",
        '"eval_input_reader[-1]" is not the name of a field, nor NAME[INDEX].',
    ),
    ("train_config..x=1", '"" is not the name of a field, nor NAME[INDEX].'),
    ("=1", '"" is not the name of a field, nor NAME[INDEX].'),
]


def _value(message, path):
    for part in path.split("."):
        message = message[int(part)] if part.isdigit() else getattr(message, part)
    return message


@pytest.mark.parametrize(("override", "path", "expected"), SET)
def test_override_sets(override, path, expected):
    changed = config.parse(BASE, "base")
    config.apply_override(changed, override)
    value = _value(changed, path)
    if hasattr(value, "DESCRIPTOR"):
        value = config.to_text(value)
    assert (list(value) if isinstance(expected, list) else value) == expected


def test_override_changes_nothing_else():
    changed = config.parse(BASE, "base")
    config.apply_override(changed, "train_config.batch_size=8")
    changed.train_config.batch_size = 128
    assert changed == config.parse(BASE, "base")


@pytest.mark.parametrize(("override", "reason"), REFUSED)
def test_override_is_refused_and_changes_nothing(override, reason):
    changed = config.parse(BASE, "base")
    with pytest.raises(ConfigError) as caught:
        config.apply_override(changed, override)
    assert str(caught.value) == f'override "{override}": {reason}'
    assert changed == config.parse(BASE, "base")


def test_override_without_a_value_is_refused():
    with pytest.raises(ConfigError, match=r'override "train_config" has no "="; write PATH=VALUE.'):
        config.apply_override(config.parse("", "base"), "train_config")
