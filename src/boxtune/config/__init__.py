"""The configuration: pipeline.proto, and reading, completing, changing, checking and writing it."""

from boxtune.config.checks import (
    check_for_evaluation,
    check_for_training,
    fixed_size,
    input_datasets,
    input_files,
)
from boxtune.config.families import family_of, recipe
from boxtune.config.loading import complete, load, parse, read_label_map, write
from boxtune.config.overrides import apply_override
from boxtune.config.text import to_text
from boxtune.config.unsupported import MODEL, chosen, refuse

__all__ = [
    "MODEL",
    "apply_override",
    "check_for_evaluation",
    "check_for_training",
    "chosen",
    "complete",
    "family_of",
    "fixed_size",
    "input_datasets",
    "input_files",
    "load",
    "parse",
    "read_label_map",
    "recipe",
    "refuse",
    "to_text",
    "write",
]
