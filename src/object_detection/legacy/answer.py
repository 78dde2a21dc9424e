"""What to do in place of a program of TensorFlow 1: the command of boxtune, with the values that were given."""

import argparse
import sys
from typing import NamedTuple

from boxtune import cli
from boxtune.errors import BoxtuneError, to_copy


class Program(NamedTuple):
    """A program of the API for TensorFlow 1."""

    job: str
    """What it did."""
    command: tuple[str, ...]
    """What does it now."""
    flags: dict[str, tuple[str, str]]
    """By its flags: the flag of the command, and what stands there where none was given, "" for an optional one."""
    note: str = ""


_CONFIG = {"pipeline_config_path": ("--pipeline_config_path", "PIPELINE.CONFIG")}
_STEPS = {"num_train_steps": ("--num_train_steps", "")}
_EXPORTED = {
    **_CONFIG,
    "trained_checkpoint_prefix": ("--checkpoint", "CHECKPOINT"),
    "output_directory": ("--output_dir", "FOLDER"),
}
_TRAIN = ("boxtune", "train")
_UNTRAINED = "A checkpoint of TensorFlow 1 is a fine_tune_checkpoint: train from it first, if for one step"

PROGRAMS = {
    "train": Program("trained", _TRAIN, {**_CONFIG, "train_dir": ("--model_dir", "FOLDER")}),
    "model_main": Program("trained", _TRAIN, {**_CONFIG, "model_dir": ("--model_dir", "FOLDER"), **_STEPS}),
    "model_tpu_main": Program(
        "trained", _TRAIN, {**_CONFIG, "model_dir": ("--model_dir", "FOLDER"), **_STEPS}
    ),
    "eval": Program(
        "measured checkpoints",
        ("boxtune", "evaluate"),
        {**_CONFIG, "checkpoint_dir": ("--checkpoint", "FOLDER"), "eval_dir": ("--output_dir", "")},
        f"`boxtune train` evaluates while it trains. {_UNTRAINED}",
    ),
    "export_inference_graph": Program(
        "exported a frozen graph",
        ("boxtune", "export"),
        {**_EXPORTED, "input_type": ("--input_type", "")},
        f"It writes a SavedModel, which runs where frozen graphs ran. {_UNTRAINED}",
    ),
    "export_tflite_ssd_graph": Program(
        "exported a graph for TensorFlow Lite",
        ("boxtune", "export", "--format", "tflite"),
        _EXPORTED,
        f"It writes the .tflite file itself. {_UNTRAINED}",
    ),
}
"""By their names."""


def answer(name: str) -> int:
    """Say which command does the job of a program now; return the exit status."""
    return cli.run(lambda: _refuse(name, sys.argv[1:]), {})


def _refuse(name: str, arguments: list[str]) -> None:
    program = PROGRAMS[name]
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False, prefix_chars="-")
    for flag in program.flags:
        parser.add_argument(f"--{flag}", f"-{flag}")
    given = vars(parser.parse_known_args(arguments)[0])
    words = list(program.command)
    for old, (new, default) in program.flags.items():
        if value := given[old] or default:
            words += [new, value]
    raise BoxtuneError(
        f"{name}.py {program.job} with TensorFlow 1, which no current Python has. Run this instead:\n"
        f"  {to_copy(*words)}" + (f"\n  {program.note}." if program.note else "")
    )
