"""The configuration: pipeline.proto, and reading, completing, changing, checking and writing it."""

from boxtune.config.checks import check_for_evaluation, check_for_training, input_datasets, input_files
from boxtune.config.families import family_of, recipe
from boxtune.config.families.family import fixed_size
from boxtune.config.loading import complete, load, parse, read_label_map, write
from boxtune.config.overrides import apply_override
from boxtune.config.refusals import MODEL, oneof, refuse
from boxtune.config.text import to_text

__all__ = [
    "MODEL",
    "apply_override",
    "check_for_evaluation",
    "check_for_training",
    "complete",
    "family_of",
    "fixed_size",
    "input_datasets",
    "input_files",
    "load",
    "oneof",
    "parse",
    "read_label_map",
    "recipe",
    "refuse",
    "to_text",
    "write",
]
