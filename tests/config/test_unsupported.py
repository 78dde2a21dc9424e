"""What the API has and boxtune has not: refused by name and line; no declared field is ignored silently."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

import boxtune
from boxtune import config
from boxtune.config import pipeline_pb2, unsupported
from boxtune.config.text import is_map
from boxtune.config.unsupported import UNSUPPORTED
from boxtune.errors import ConfigError

SOURCE = Path(boxtune.__file__).parent
DOCS = SOURCE.parent.parent / "docs/from_the_api.md"

# Fields that decide nothing: what they would choose between is found out, or is refused where it is loaded.
DECIDE_NOTHING = {
    "InputReader.use_display_name",  # names of both kinds are understood
    "InputReader.mask_type",  # so are masks of both kinds
    "XYPairs.training_data_type",  # what a calibration was fitted on
    "InputReader.load_instance_masks",  # an evaluation reads masks where a metric wants them
    "RandomHorizontalFlip.keypoint_flip_permutation",  # no training reads keypoints
    "RandomVerticalFlip.keypoint_flip_permutation",
    "RandomRotation90.keypoint_rot_permutation",
}

TEXT = """# model { faster_rcnn {} }
model {
  ssd {
    feature_extractor { type: "ssd_mobilenet_v2_fpn_keras" }
    image_resizer { fixed_shape_resizer { convert_to_grayscale: true } }
    post_processing <
      calibration_config { sigmoid_calibration {} }
    >
  }
}
train_input_reader { num_keypoints: 17 load_track_id: false }
eval_input_reader {}
eval_input_reader { keypoint_type_weight: [0.5,
  0.5] }
"""
GRAY = "model.ssd.image_resizer.fixed_shape_resizer.convert_to_grayscale"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "pipeline.config"
    path.write_text(TEXT, encoding="utf-8")
    return path


def refused(pipeline, *arguments) -> str:
    with pytest.raises(ConfigError) as caught:
        config.refuse(pipeline, *arguments)
    return str(caught.value)


def test_the_error_names_file_line_field_and_way_out(file):
    assert refused(config.load(file), file, ["model"]) == (
        f"{file}:5: {GRAY}: boxtune does not have networks for images of one channel yet; leave it false: "
        "gray images are read as three channels. Also missing: "
        "model.ssd.post_processing.calibration_config.sigmoid_calibration."
    )


@pytest.mark.parametrize(
    ("section", "line", "path"),
    [
        ("train_input_reader", 11, "train_input_reader.num_keypoints"),
        ("eval_input_reader", 13, "eval_input_reader[1].keypoint_type_weight"),
    ],
)
def test_other_sections_are_not_reported(file, section, line, path):
    error = refused(config.load(file), file, [section])
    assert error.startswith(f"{file}:{line}: {path}: ")
    assert "Also missing" not in error


def test_a_supported_section_passes(file):
    config.refuse(config.load(file), file, ["train_config", "eval_config"])


def test_without_a_file_the_field_is_named(file):
    assert refused(config.load(file)).startswith(f"{GRAY}: ")


@pytest.mark.parametrize(
    "override",
    ["train_input_reader.num_keypoints=3", "train_input_reader.load_track_id=true"],
)
def test_an_override_has_no_line(file, override):
    pipeline = config.load(file, [override])
    if "keypoints" not in override:
        pipeline.train_input_reader.num_keypoints = 0
    assert refused(pipeline, file, ["train_input_reader"]).startswith(
        f"{file}: {override.partition('=')[0]}: "
    )


def test_a_missing_or_changed_file_has_no_line(file):
    pipeline = config.load(file)
    file.write_text("model {", encoding="utf-8")
    assert refused(pipeline, file, ["model"]).startswith(f"{file}: {GRAY}: ")
    file.unlink()
    assert refused(pipeline, file, ["model"]).startswith(f"{file}: {GRAY}: ")
    assert refused(pipeline, file.parent, ["model"]).startswith(f"{file.parent}: {GRAY}: ")


def test_lines_are_those_of_any_system(file):
    file.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert refused(config.load(file), file, ["model"]).startswith(f"{file}:5: ")


@pytest.mark.parametrize(
    "text",
    [
        "train_input_reader { load_instance_masks: false num_keypoints: 0 }",
        "train_input_reader { mask_type: PNG_MASKS frame_index: -1 }",
        "model { ssd { image_resizer { fixed_shape_resizer { convert_to_grayscale: false } } } }",
        "model { ssd { loss { equalization_loss { weight: 0 } expected_loss_weights: NONE } } }",
        "model { ssd { implicit_example_weight: 1 explicit_background_class: false } }",
        "eval_input_reader { load_instance_masks: true num_keypoints: 17 mask_type: NUMERICAL_MASKS }",
        "eval_config { super_categories { key: 'pets' value: 'cat' } force_no_resize: false }",
    ],
)
def test_defaults_pass(text):
    config.refuse(config.parse(text, "a.config"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "model { ssd { matcher { bipartite_matcher {} } } }",
            "the bipartite matcher yet; use argmax_matcher",
        ),
        (
            "model { ssd { loss { expected_loss_weights: EXPECTED_SAMPLING } } }",
            "expected weights of anchors",
        ),
        ("train_input_reader { external_input_reader {} }", "readers of other formats"),
        (
            "train_config { data_augmentation_options { random_horizontal_flip {} } "
            "data_augmentation_options { normalize_image {} } }",
            "data_augmentation_options[1].normalize_image: boxtune does not have augmentation that normalizes images",
        ),
    ],
)
def test_what_is_unsupported_is_refused(text, reason):
    assert reason in refused(config.parse(text, "a.config"))


def test_some_of_many_are_named():
    readers = "eval_input_reader { load_track_id: true } " * 8
    error = refused(config.parse(readers, "a.config"))
    assert error.startswith("eval_input_reader[0].load_track_id: ")
    assert error.endswith(
        "Also missing: " + ", ".join(f"eval_input_reader[{i}].load_track_id" for i in range(1, 6)) + ", ...."
    )


@pytest.mark.parametrize("name", ["mask_rcnn_box_predictor", "rfcn_box_predictor"])
def test_heads_of_other_families_are_refused_in_an_ssd(name):
    error = refused(config.parse(f"model {{ ssd {{ box_predictor {{ {name} {{}} }} }} }}", "a.config"))
    assert error.startswith(f"model.ssd.box_predictor.{name}: ")


def test_oneof_reports_the_entry_of_the_table():
    section = config.parse("model { ssd { matcher { bipartite_matcher {} } } }", "a.config").model.ssd.matcher
    with pytest.raises(
        ConfigError, match=r"Matcher: boxtune does not have the bipartite matcher yet; use argmax_m"
    ):
        config.oneof(section, {"argmax_matcher": dict})


def test_oneof_names_the_choices():
    section = config.parse("model { ssd { matcher { argmax_matcher {} } } }", "a.config").model.ssd.matcher
    with pytest.raises(
        ConfigError, match=r'Matcher: boxtune does not have "argmax_matcher" yet; choose one of: other'
    ):
        config.oneof(section, {"other": dict})


def test_every_entry_is_a_field():
    known = {field.full_name.removeprefix("boxtune.config.") for field in _fields()}
    known |= {".".join(path) for path, _ in _paths(pipeline_pb2.TrainEvalPipelineConfig.DESCRIPTOR)}
    assert set(UNSUPPORTED) <= known


def test_every_field_is_honoured_refused_or_without_effect():
    """A field is taken for honoured where the program has its name, as an attribute or as text."""
    names = _names_in_code()
    assert "num_classes" in names
    assert "mask_head_config" not in names
    passed_over = {
        field.full_name.removeprefix("boxtune.config.")
        for _, field in _paths(pipeline_pb2.TrainEvalPipelineConfig.DESCRIPTOR, names)
        if field.name not in names and not _holds_only_unsupported(field)
    }
    assert passed_over - DECIDE_NOTHING == set()


def test_the_documentation_lists_what_is_refused():
    rows = re.findall(r"^\| `(.+)` \| (.+) \| (.+) \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    listed = {field: (what, way_out) for fields, what, way_out in rows for field in fields.split("`, `")}
    assert listed == {field: tuple(entry) for field, entry in UNSUPPORTED.items()}


def _names_in_code() -> set[str]:
    """Return all names of attributes, and all texts that could be names, in the program."""
    generated_or_listing = {"pipeline_pb2.py", "unsupported.py"}
    files = [path for path in SOURCE.rglob("*.py") if path.name not in generated_or_listing]
    code = "\n".join(path.read_text(encoding="utf-8") for path in files)
    return {*re.findall(r"\.([a-z]\w*)\b", code), *re.findall(r"[\"']([a-z0-9_]+)[\"']", code)}


def _paths(
    message: Descriptor, names: set[str] | None = None, parents: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], FieldDescriptor]]:
    """Yield fields with their paths; with `names` only those in use, and what is in a message once."""
    seen: set[str] = set()
    pending = [(parents, message)]
    while pending:
        above, current = pending.pop()
        for field in current.fields:
            path = (*above, field.name)
            if names is not None and _is_out_of_use(field, path, names):
                continue
            yield path, field
            inner = field.message_type
            known = names is not None and field.full_name in seen
            if inner and not is_map(field) and not known:
                seen.add(field.full_name)
                pending.append((path, inner))


def _is_out_of_use(field: FieldDescriptor, path: tuple[str, ...], names: set[str]) -> bool:
    """Whether a field has no effect, is refused, or is a choice that is not offered: `oneof` refuses it."""
    not_offered = field.containing_oneof is not None and field.name not in names
    refused = unsupported.missing(field.full_name, ".".join(path)) is not None
    return field.GetOptions().deprecated or refused or not_offered


def _holds_only_unsupported(field: FieldDescriptor) -> bool:
    inner = field.message_type
    return inner is not None and all(unsupported.missing(one.full_name) for one in inner.fields)


def _fields() -> Iterator[FieldDescriptor]:
    pending = list(pipeline_pb2.DESCRIPTOR.message_types_by_name.values())
    while pending:
        message = pending.pop()
        pending += message.nested_types
        yield from message.fields
