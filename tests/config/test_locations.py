"""Places: on which line of a text each field is set."""

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from boxtune import config
from boxtune.config.locations import line_of, locations
from boxtune.config.pipeline_pb2 import TrainEvalPipelineConfig
from boxtune.config.text import set_fields
from boxtune.errors import ConfigError

TEXT = """# model { ssd { num_classes: 1 } }
model: < ssd {
    num_classes: 2  # }
    box_predictor { convolutional_box_predictor { min_depth: -1 max_depth: 0x10; } },
} >
train_config { update_trainable_variables: "a {" 'b'
  "c" freeze_variables: ["d",
  "e" "f"] batch_size
  :
  8 }
eval_input_reader { } eval_input_reader [ { shuffle: true },
  { frame_index:-1
    tf_record_input_reader < input_path: [] input_path: "g" > } ]
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("model", 2),
        ("model.ssd", 2),
        ("model.ssd.num_classes", 3),
        ("model.ssd.box_predictor.convolutional_box_predictor.max_depth", 4),
        ("train_config.update_trainable_variables[0]", 6),
        ("train_config.freeze_variables[0]", 7),
        ("train_config.freeze_variables", 7),
        ("train_config.freeze_variables[1]", 8),
        ("train_config.batch_size", 8),
        ("eval_input_reader[0]", 11),
        ("eval_input_reader[1].shuffle", 11),
        ("eval_input_reader[2]", 12),
        ("eval_input_reader[2].frame_index", 12),
        ("eval_input_reader[2].tf_record_input_reader.input_path[0]", 13),
        ("eval_input_reader[3]", None),
        ("eval_input_reader[0].shuffle", None),
        ("model.ssd.loss", None),
    ],
)
def test_line_of(path, line):
    assert line_of(TEXT, _steps(path)) == line


def test_a_location_has_the_start_of_its_value():
    values = {location.path[-1][0]: location.value for location in locations(TEXT)}
    assert (values["num_classes"], values["frame_index"], values["model"]) == ("2", "-1", "<")


def test_extensions_are_named_in_brackets():
    text = "graph_rewriter { [some.program.Rewriter] { bits: 4 } [x.y]: 1 } model {}"
    assert [(location.path[-1][0], location.line) for location in locations(text)] == [
        ("graph_rewriter", 1),
        ("[some.program.Rewriter]", 1),
        ("bits", 1),
        ("[x.y]", 1),
        ("model", 1),
    ]


@pytest.mark.shared
def test_every_field_of_a_configuration_has_a_line(shared):
    paths = [*shared.glob("stock_configs/*.config"), *shared.glob("zoo/*/pipeline.config")]
    assert len(paths) > 50
    for file in paths:
        text = file.read_text(encoding="utf-8")
        lines = text.splitlines()
        by_path = {_dotted(location.path): location for location in locations(text)}
        for path, field, _ in set_fields(config.parse(text, "a.config")):
            if '["' in path:
                continue  # the entries of a map have no number
            line = lines[by_path[path.replace("[0]", "")].line - 1]
            assert field.name in line or field.is_repeated, (file, path)


@given(st.text(alphabet="model { ssd } < > [ ] , : ; # ' \" a 1 - \n"))
def test_parsed_text_has_locations(text):
    try:
        parsed = config.parse(text, "a.config")
    except ConfigError:
        return
    found = {_dotted(location.path) for location in locations(text)}
    assert parsed == TrainEvalPipelineConfig() or "model" in found


def _steps(path: str) -> list[tuple[str, int | None]]:
    parts = (part.partition("[") for part in path.split("."))
    return [(name, int(index.rstrip("]")) if index else None) for name, _, index in parts]


def _dotted(path: tuple[tuple[str, int], ...]) -> str:
    return ".".join(f"{name}[{index}]" if index else name for name, index in path)


@pytest.mark.parametrize("text", ["a: [", "a { b: [1,", "a: {", "a: [1"])
def test_a_text_that_ends_too_early_is_an_error(text):
    with pytest.raises(text_format.ParseError):
        list(locations(text))
