"""Configurations with changes that are arguments of functions, as files for the verbs of boxtune."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from boxtune import config
from boxtune.config.pipeline_pb2 import TrainEvalPipelineConfig
from boxtune.errors import ConfigError
from object_detection.utils import config_util

_NAME = "pipeline.config"


@contextmanager
def edited_config(
    path: config_util.FilePath,
    config_override: str | None = None,
    changes: Mapping[str, Any] | None = None,
    eval_index: int = 0,
) -> Iterator[Path]:
    """Give within the block the path of a configuration with changes: the given one where there are none.

    Args:
        path: of the file.
        config_override: text of another configuration, merged into it.
        changes: as of `config_util.merge_external_params_with_configs`.
        eval_index: of the `eval_input_reader` that is its first.

    Raises:
        ConfigError: if a change is not understood, or there is no such reader.
    """
    if not config_override and not changes and not eval_index:
        yield Path(path)
        return
    pipeline = config.read(path, TrainEvalPipelineConfig())
    if config_override:
        pipeline.MergeFrom(config.parse(config_override, "config_override"))
    if changes:
        configs = config_util.create_configs_from_pipeline_proto(pipeline)
        config_util.merge_external_params_with_configs(configs, kwargs_dict=changes)
    readers = list(pipeline.eval_input_reader)
    if eval_index and not 0 < eval_index < len(readers):
        raise ConfigError(f"eval_index is {eval_index}, but {path} has {len(readers)} eval_input_reader")
    if eval_index:
        del pipeline.eval_input_reader[:]
        pipeline.eval_input_reader.append(readers[eval_index])
    with written_config(pipeline) as written:
        yield written


def merged_config(path: config_util.FilePath, config_override: str) -> TrainEvalPipelineConfig:
    """Return the completed configuration of a file with the text of another merged into it, to export by.

    Raises:
        ConfigError: if either is not understood, or for a model that boxtune does not have.
    """
    pipeline = config.load(path)
    if config_override:
        pipeline.MergeFrom(config.parse(config_override, "--config_override"))
    config.refuse(pipeline, path, config.MODEL)
    return pipeline


@contextmanager
def written_config(pipeline: TrainEvalPipelineConfig) -> Iterator[Path]:
    """Give within the block the path of a file of a configuration."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / _NAME
        config.write(pipeline, path)
        yield path
