"""Text form: what is said of mistakes, and the way to text and back."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxtune import config
from boxtune.config import text as text_form
from boxtune.config.pipeline_pb2 import TrainEvalPipelineConfig
from boxtune.errors import ConfigError

MISTAKES = [
    (
        "train_config {\n  batchsize: 8\n}",
        '2:3: TrainConfig has no field "batchsize". Did you mean "batch_size"?',
    ),
    ("eval_confg {}", '1:1: TrainEvalPipelineConfig has no field "eval_confg". Did you mean "eval_config"?'),
    (
        "train_config { shuffle: true }",
        '1:16: TrainConfig has no field "shuffle". It belongs in InputReader.',
    ),
    ("model { ssd { zzz: 1 } }", '1:15: Ssd has no field "zzz".'),
    (
        "train_config { num_steps: 1e3 }",
        '1:27: num_steps has to be a whole number from 0 to 4294967295, not "1e3".',
    ),
    (
        "train_config { num_steps: -1 }",
        '1:27: num_steps has to be a whole number from 0 to 4294967295, not "-1".',
    ),
    (
        'model { ssd { num_classes: "3" } }',
        '1:28: num_classes has to be a whole number from -2147483648 to 2147483647, not "3".',
    ),
    (
        "train_config { num_steps: }",
        "1:16: num_steps has to be a whole number from 0 to 4294967295, which is missing.",
    ),
    (
        "train_config { gradient_clipping_by_norm: much }",
        '1:43: gradient_clipping_by_norm has to be a number, not "much".',
    ),
    (
        "train_config { gradient_clipping_by_norm: nan }",
        " train_config.gradient_clipping_by_norm is nan; it has to be a finite number of 32 bits.",
    ),
    (
        "train_config { gradient_clipping_by_norm: 1e99 }",
        " train_config.gradient_clipping_by_norm is inf; it has to be a finite number of 32 bits.",
    ),
    ("train_config { use_bfloat16: yes }", '1:30: use_bfloat16 has to be true or false, not "yes".'),
    ("eval_config { metrics_set: coco }", '1:28: metrics_set has to be text in quotes, not "coco".'),
    (
        'eval_config { metrics_set: ["a", b] }',
        '1:34: metrics_set has to be text in quotes, not "b".',
    ),
    ("train_config: 5", '1:15: train_config has to be { ... } with fields of TrainConfig, not "5".'),
    (
        "train_config { fine_tune_checkpoint_version: V3 }",
        '1:46: CheckpointVersion has no value "V3"; it is UNKNOWN, V1 or V2. Did you mean "V2"?',
    ),
    (
        "train_config { num_steps: 1 num_steps: 2 }",
        '1:40: TrainConfig has "num_steps" twice; keep one of them.',
    ),
    (
        "model { ssd { feature_extractor { fpn {} bifpn {} } } }",
        '1:42: "bifpn" and "fpn" exclude each other; keep one of them.',
    ),
    (
        'train_config {\n  fine_tune_checkpoint: "C:\\data\\ckpt-0"\n}',
        '2:28: "\\d" is not an escape; write "\\\\", or "/" in a path.',
    ),
    (
        'train_config {\n  fine_tune_checkpoint: "C:\\Users\\ckpt-0"\n}',
        '2:28: "\\U" is not an escape; write "\\\\", or "/" in a path.',
    ),
    (
        'train_config {\n  fine_tune_checkpoint: "C:\\home\\xyz"\n}',
        '2:28: "\\h" is not an escape; write "\\\\", or "/" in a path.',
    ),
    (
        'train_config {\n  fine_tune_checkpoint: "D:\\2019"\n}',  # \201 is no character of UTF-8
        '3:1: the numbers after a "\\" are no character of UTF-8; write "\\\\", or "/" in a path.',
    ),
    (
        'train_config {\n  fine_tune_checkpoint: "C:\\boxes\\"\n}',
        '2:25: this text has no quote at its end; for a "\\" write "\\\\", or "/" in a path.',
    ),
    (
        'train_config { fine_tune_checkpoint: "boxes\n batch_size: 8 }',
        "1:38: this text has no quote at its end.",
    ),
    # A value that is missing is looked for where it should be, not where the parser stopped.
    (
        "train_config {\n  batch_size:\n  num_steps: 5\n}",
        "2:3: batch_size has to be a whole number from 0 to 4294967295, which is missing.",
    ),
    (
        "train_config {\n  batch_size:  # eight: no\n\n}",
        "2:3: batch_size has to be a whole number from 0 to 4294967295, which is missing.",
    ),
    (
        "train_config {\n  optimizer\n  batch_size: 8\n}",
        "2:3: optimizer has to be { ... } with fields of Optimizer, which is missing.",
    ),
    (
        "train_config {\n  fine_tune_checkpoint_version:\n  batch_size: 8\n}",
        "2:3: fine_tune_checkpoint_version has to be UNKNOWN, V1 or V2, which is missing.",
    ),
    (
        "train_config {\n  num_steps\n  batch_size: 8\n}",
        "2:3: num_steps has to be a whole number from 0 to 4294967295, which is missing.",
    ),
    (
        "model { fastr_rcnn {} }",
        '1:9: DetectionModel has no field "fastr_rcnn".',
    ),  # no hint at what is not built
    (
        "model { ssd {} faster_rcnn {} }",
        '1:16: "faster_rcnn" and "ssd" exclude each other; keep one of them.',
    ),
    (
        "eval_config { super_categories: 1 }",
        '1:33: super_categories has to be { key: ... value: ... }, not "1".',
    ),
    (
        'eval_config { super_categories { keys: "a" } }',
        '1:34: SuperCategoriesEntry has no field "keys". Did you mean "key"?',
    ),
    (
        "eval_config {\n super_categories { key: 'a' value: 'b' }\n super_categories { value: '' key: 'a' }}",
        "3: super_categories has the key 'a' twice; keep one.",
    ),
    (
        "eval_config { super_categories [{ value: 'b' },\n { value: 'c' }] }",
        '2: super_categories has the key "" twice; keep one.',
    ),
    ("[other.extension] {}", '1:8: Message type "TrainEvalPipelineConfig" does not have extensions.'),
    ("train_config {", '1:14: Expected "}".'),
]


@pytest.mark.parametrize(("text", "expected"), MISTAKES)
def test_mistakes_are_explained(text, expected):
    with pytest.raises(ConfigError) as caught:
        config.parse(text, "a.config")
    assert str(caught.value) == f"a.config:{expected}"


@pytest.mark.parametrize(
    "text",
    [
        "\x00\x01\x02\xff",
        "{" * 100_000,
        "model {" * 100_000,
        "a" * 1_000_000,
        "train_config { num_steps: " + "9" * 100_000 + " }",
        'eval_config { metrics_set: "' + "\\" * 99_999,
        'eval_config { metrics_set: "\\xff\\xfe" }',
        'Message type "' * 50_000,
        "train_config { data_augmentation_options { " * 2,
        "model: {" + "ssd <" * 1000,
        'eval_config { metrics_set: "\ud800" }',
    ],
    ids=range(11),
)
def test_hostile_text_is_refused_in_a_sentence(text):
    with pytest.raises(ConfigError) as caught:
        config.parse(text, "a.config")
    assert len(str(caught.value)) < 400


def test_huge_text_is_refused():
    with pytest.raises(ConfigError, match=r"a.config has more than 10,000,000 characters"):
        config.parse("#" * (text_form.MAX_CHARACTERS + 1), "a.config")


@given(st.text())
def test_any_text_is_read_or_refused(text):
    try:
        parsed = config.parse(text, "a.config")
    except ConfigError:
        return
    assert config.parse(config.to_text(parsed), "again") == parsed


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_byte_order_mark_and_newlines_of_any_system(newline):
    text = newline.join(["\ufeff# a comment", "train_config {", "  num_steps: 7 # another", "}"])
    assert config.parse(text, "a.config").train_config.num_steps == 7


def test_separators_and_lists_as_the_api_wrote_them():
    grid = "ssd_anchor_generator { aspect_ratios: [1, 2.0], num_layers: 6; }"
    read = config.parse(f"model: < ssd {{ anchor_generator {{ {grid} }} }} >", "a.config")
    generator = read.model.ssd.anchor_generator.ssd_anchor_generator
    assert list(generator.aspect_ratios) == [1.0, 2.0]
    assert generator.num_layers == 6


def test_floats_are_written_as_they_were_typed():
    text = 'train_config {\n  gradient_clipping_by_norm: 0.08\n  fine_tune_checkpoint: "é/ckpt-0"\n}\n'
    assert config.to_text(config.parse(text, "a.config")) == text


def test_maps_are_written_in_the_order_of_their_keys():
    message = TrainEvalPipelineConfig()
    for name in "hgfedcba":
        message.eval_config.super_categories[name] = name.upper()
    text = config.to_text(message)
    assert [line.split('"')[1] for line in text.splitlines() if "key" in line] == list("abcdefgh")
    assert config.parse(text, "a.config") == message


def test_the_same_key_in_two_maps_is_not_twice():
    metric = "coco_keypoint_metrics { keypoint_label_to_sigmas { key: 'nose' value: 0.5 } }"
    text = f"eval_config {{ parameterized_metric {{ {metric} }} parameterized_metric {{ {metric} }} }}"
    metrics = config.parse(text, "a.config").eval_config.parameterized_metric
    sigmas = [dict(one.coco_keypoint_metrics.keypoint_label_to_sigmas) for one in metrics]
    assert sigmas == [{"nose": 0.5}] * 2


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_floats_read_back_as_the_same_float32(value):
    message = TrainEvalPipelineConfig()
    message.train_config.gradient_clipping_by_norm = value
    assert config.parse(config.to_text(message), "a.config") == message


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_text_reads_back_the_same(value):
    message = TrainEvalPipelineConfig()
    message.train_config.fine_tune_checkpoint = value
    assert config.parse(config.to_text(message), "a.config") == message


def test_set_fields_gives_paths():
    reader = 'shuffle: false tf_record_input_reader { input_path: ["a", "b"] }'
    message = config.parse(f"eval_input_reader {{}} eval_input_reader {{ {reader} }}", "a.config")
    paths = {path: value for path, _, value in text_form.set_fields(message)}
    assert paths == {
        "eval_input_reader[1].shuffle": False,
        "eval_input_reader[1].tf_record_input_reader.input_path[0]": "a",
        "eval_input_reader[1].tf_record_input_reader.input_path[1]": "b",
    }


def test_set_fields_gives_the_values_of_maps_by_their_keys():
    message = config.parse("eval_config { super_categories { key: 'pets' value: 'cat,dog' } }", "a.config")
    paths = {path: value for path, _, value in text_form.set_fields(message)}
    assert paths == {'eval_config.super_categories["pets"]': "cat,dog"}


@pytest.mark.parametrize("letter", [*string.ascii_letters, *string.digits, " ", "-", "$", "(", "ä"])
def test_every_letter_after_a_backslash_is_an_error_or_told(letter, tmp_path, caplog):
    path = tmp_path / "pipeline.config"
    path.write_text(f'train_input_reader {{\n  label_map_path: "C:\\{letter}y 5"\n}}', encoding="utf-8")
    if letter in "abfnrtv01234567":
        config.load(path, needs_model=False)
        assert f'pipeline.config:2: "C:\\{letter}y 5": a "\\" and the character after it' in caplog.text
    else:
        with pytest.raises(ConfigError, match=re.escape(f':2:22: "\\{letter}" is not an escape; write')):
            config.load(path, needs_model=False)


def test_backslashes_that_are_doubled_are_not_told(tmp_path, caplog):
    path = tmp_path / "pipeline.config"
    path.write_text(
        r'train_input_reader { label_map_path: "C:\\new\\it\'s" } eval_config { metrics_set: "a\tb" }'
    )
    config.load(path, needs_model=False)
    assert caplog.text == ""
