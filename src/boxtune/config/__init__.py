"""The configuration: pipeline.proto, and reading, completing, changing, checking and writing it."""

from boxtune.config.checks import check_for_evaluation, check_for_training, input_datasets, input_files
from boxtune.config.families import family_of, recipe
from boxtune.config.families.family import (
    NEGLIGIBLE_FLOOR,
    fixed_size,
    score_floor,
    set_score_floor,
    words_of_floor,
)
from boxtune.config.loading import complete, load, parse, read, read_label_map, write
from boxtune.config.overrides import apply_override
from boxtune.config.refusals import MODEL, oneof, refuse
from boxtune.config.text import to_text

__all__ = [
    "MODEL",
    "NEGLIGIBLE_FLOOR",
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
    "read",
    "read_label_map",
    "recipe",
    "refuse",
    "score_floor",
    "set_score_floor",
    "to_text",
    "words_of_floor",
    "write",
]
