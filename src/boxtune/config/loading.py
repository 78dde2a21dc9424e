"""Reads and writes configurations and label maps; sections that are left out come from a stock recipe."""

import copy
import glob
import logging
import os
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Sequence
from pathlib import Path

from google.protobuf.message import Message

from boxtune.config.families import FAMILIES, family_of
from boxtune.config.overrides import apply_override, short
from boxtune.config.pipeline_pb2 import StringIntLabelMap, TrainConfig, TrainEvalPipelineConfig
from boxtune.config.refusals import refuse_family
from boxtune.config.text import MAX_CHARACTERS, M, escaped_paths, from_text, is_map, readable, to_text
from boxtune.errors import BoxtuneError, ConfigError, DataError

_MOST_NAMED = 3
_PATH_FIELDS = frozenset({"input_path", "label_map_path", "fine_tune_checkpoint", "fine_tune_label_map_path"})

_warned: set[str] = set()
"""The fields without effect that a warning has named or counted: once is enough for all files of a command."""

_log = logging.getLogger("boxtune")


def parse(text: str, source: str) -> TrainEvalPipelineConfig:
    """Return the configuration that `text` holds, as it is; `source` names it in errors.

    Raises:
        ConfigError: ``SOURCE:LINE:COLUMN: what is wrong``, with the nearest known name or what was expected.
    """
    return from_text(text, TrainEvalPipelineConfig(), source, error=ConfigError)


def read(path: str | os.PathLike[str], message: M) -> M:
    """Fill `message`, a configuration or a section of one, from a file, as it is, and return it.

    Raises:
        ConfigError: the file cannot be read, or ``FILE:LINE:COLUMN: what is wrong``.
    """
    return from_text(_read(Path(path), error=ConfigError), message, str(path), error=ConfigError)


def load(
    path: str | os.PathLike[str], overrides: Sequence[str] = (), *, needs_model: bool = True
) -> TrainEvalPipelineConfig:
    """Return the configuration of a file, completed from the stock recipe (see `complete`) and overridden.

    An override that names the recipe (such as the feature extractor's type), alone or within its section, is
    applied before completing; the others are applied afterwards, in order, so that they change one value of a stock
    section rather than replace the section. Fields that have no effect are left out; a warning of the logger
    "boxtune" names each once in a process. Unless it `needs_model`, a configuration without one is not completed.

    Raises:
        ConfigError: the file cannot be read; it, an override or the feature extractor is not understood; boxtune does
            not have the family of detectors.
    """
    text = _read(Path(path), error=ConfigError)
    given = parse(text, str(path))
    for field in escaped_paths(readable(text), _PATH_FIELDS):
        _log.warning(
            '%s:%d: %s: a "\\" and the character after it stand for another one here; write "\\\\", or "/" in a path.',
            path, field.line, field.value,
        )  # fmt: skip
    early = [override for override in overrides if _chooses_recipe(override.partition("=")[0].strip())]
    late = [override for override in overrides if override not in early]
    for override in early:
        apply_override(given, override)
    refuse_family(given, path)
    family = FAMILIES.get(given.model.WhichOneof("model") or "")
    for replaced in family.take_older_names(given.model) if family else ():
        _log.warning("%s: %s.", path, replaced)
    try:
        config = complete(given) if needs_model or given.HasField("model") else given
    except ConfigError as exc:
        raise ConfigError(f"{path}: {exc}") from None
    for override in late:
        apply_override(config, override)
    _take_slashes(config)
    _take_older_type(config.train_config)
    new = sorted(_clear_deprecated(config) - _warned)
    _warned.update(new)
    if new:
        more = f" and {len(new) - _MOST_NAMED} more" if len(new) > _MOST_NAMED else ""
        _log.warning("%s: without effect: %s%s.", path, ", ".join(new[:_MOST_NAMED]), more)
    return config


def complete(config: TrainEvalPipelineConfig) -> TrainEvalPipelineConfig:
    """Return a copy in which sections that are left out entirely come from the stock recipe that `model` names.

    A section that is given is kept as it is: values left out in it have the defaults of pipeline.proto. The
    sections are those of `model`, as its family says; `train_config` as a whole, or if it is given, its `optimizer`
    only; and `eval_config`. Never completed: `num_classes`, the readers, the checkpoint, and steps of augmentation in a
    given `train_config`.

    Raises:
        ConfigError: the family or its recipe is not named or not known.
    """
    result = copy.deepcopy(config)
    stock = family_of(config.model).complete(result.model)
    for section in ("train_config", "eval_config"):
        if not result.HasField(section):
            getattr(result, section).CopyFrom(getattr(stock, section))
    if not result.train_config.HasField("optimizer"):
        result.train_config.optimizer.CopyFrom(stock.train_config.optimizer)
    return result


def read_label_map(path: str | os.PathLike[str]) -> StringIntLabelMap:
    """Return the label map of a text file, as it is: names and ids are not checked.

    Raises:
        DataError: the file cannot be read, or ``FILE:LINE:COLUMN: what is wrong``.
    """
    return from_text(_read(Path(path), error=DataError), StringIntLabelMap(), str(path), error=DataError)


def write(config: TrainEvalPipelineConfig, path: str | os.PathLike[str]) -> None:
    """Write a configuration in text form; the file appears whole or not at all.

    Raises:
        ConfigError: the file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(to_text(config), encoding="utf-8", newline="\n")
        os.replace(temporary, path)
    except OSError as exc:
        temporary.unlink(missing_ok=True)
        raise ConfigError(f"cannot write {path}: {exc.strerror}.") from exc


def _take_slashes(config: TrainEvalPipelineConfig) -> None:
    r"""Replace each ``\`` of a path by ``/`` where only that leads to a file, and log it."""
    for reader in (config.train_input_reader, *config.eval_input_reader):
        paths = reader.tf_record_input_reader.input_path
        slashed = list(map(_with_slashes, paths))
        if slashed != list(paths):
            paths[:] = slashed
        if reader.label_map_path:
            reader.label_map_path = _with_slashes(reader.label_map_path)
    if checkpoint := config.train_config.fine_tune_checkpoint:
        config.train_config.fine_tune_checkpoint = _with_slashes(checkpoint)
    if label_map := config.boxtune.fine_tune_label_map_path:
        config.boxtune.fine_tune_label_map_path = _with_slashes(label_map)


def _with_slashes(path: str) -> str:
    slashed = path.replace("\\", "/")
    if slashed == path or _is_there(path) or not _is_there(slashed):
        return path
    _log.warning("%s is read as %s.", path, slashed)
    return slashed


def _is_there(path: str) -> bool:
    return any(glob.glob(pattern) for pattern in (path, f"{glob.escape(path)}.index"))


def _take_older_type(train: TrainConfig) -> None:
    """Set fine_tune_checkpoint_type if only the field before it is set, as the API does, and log it."""
    if train.fine_tune_checkpoint and train.from_detection_checkpoint and not train.fine_tune_checkpoint_type:
        train.fine_tune_checkpoint_type = "detection"
        train.ClearField("from_detection_checkpoint")
        _log.warning('from_detection_checkpoint: true is read as fine_tune_checkpoint_type: "detection".')


def _chooses_recipe(path: str) -> bool:
    """Return whether the field at `path` names the stock recipe of a family, or contains the one that does."""
    fields = [f"{family.path}.{family.recipe_field}" for family in FAMILIES.values()]
    return any(f"{field}.".startswith(f"{path}.") for field in [*fields, *(short(field) for field in fields)])


def _clear_deprecated(message: Message) -> set[str]:
    """Remove the fields of a message that have no effect; return their names."""
    names: set[str] = set()
    for field, value in message.ListFields():
        if field.GetOptions().deprecated:
            message.ClearField(field.name)
            names.add(field.name)
        elif field.message_type is not None and not is_map(field):
            names.update(*map(_clear_deprecated, value if field.is_repeated else [value]))
    return names


def _read(path: Path, *, error: type[BoxtuneError]) -> str:
    """Return the text of a file, without reading more than can be parsed."""
    if path.is_dir():
        files = sorted(path.glob("*.config")) or sorted(path.glob("*.pbtxt"))
        hint = f"; give the file, such as {files[0]}" if files else ", not a file"
        raise error(f"{path} is a folder{hint}.")
    if path.exists() and not path.is_file():
        raise error(f"{path} is not a file but a device or a pipe.")
    try:
        with path.open("rb") as file:
            content = file.read(4 * MAX_CHARACTERS + 1)
        return content.decode("utf-16" if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8")
    except FileNotFoundError:
        raise error(f"there is no file {path} (looked from {Path.cwd()}).") from None
    except OSError as exc:
        raise error(f"cannot read {path}: {exc.strerror}.") from exc
    except UnicodeDecodeError as exc:
        raise error(f"{path} is not text in UTF-8 (byte {exc.start + 1}); is it the right file?") from None
