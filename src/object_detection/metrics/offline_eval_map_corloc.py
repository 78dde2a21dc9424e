"""Measure records that hold detections beside the ground truth, by the first metrics of an `eval_config`.

    offline_eval_map_corloc.py --eval_dir=OUT --eval_config_path=eval.config --input_config_path=input.config

writes OUT/metrics.csv, a line `name,number` for each number.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import flags, logging

from boxtune.config.pipeline_pb2 import EvalConfig, InputReader
from boxtune.data.files import whole_file, writable_folder
from boxtune.errors import ConfigError
from object_detection import eval_util
from object_detection.core.standard_fields import DetectionResultFields
from object_detection.dataset_tools import script
from object_detection.metrics import io_utils, tf_example_parser
from object_detection.utils import config_util, label_map_util

FLAGS = flags.FLAGS
_SHARDS = re.compile(r"(.*)@(\d{1,5})(.*)")


class ReaderError(ConfigError, ValueError):
    """A reader of something else than records; a ValueError too, which is what the API raises."""


def _generate_sharded_filenames(filename: str) -> list[str]:
    """Return the names of the parts of `NAME@3.record`; a name without a number of parts is itself."""
    match = _SHARDS.fullmatch(filename)
    if not match:
        return [filename]
    before, count, behind = match[1], int(match[2]), match[3]
    return [f"{before}-{part:05d}-of-{count:05d}{behind}" for part in range(count)]


def _generate_filenames(filenames: Iterable[str]) -> list[str]:
    """Return the names of the parts of all files."""
    return [part for name in filenames for part in _generate_sharded_filenames(name)]


def read_data_and_evaluate(input_config: InputReader, eval_config: EvalConfig) -> dict[str, Any]:
    """Return the numbers of all records by the first metrics of `eval_config`.

    Records without detections or ground truth are left out, and counted in the log.

    Raises:
        ReaderError: if `input_config` reads something else than records.
        UnknownMetricError: for the name of metrics that is unknown.
    """
    if input_config.WhichOneof("input_reader") != "tf_record_input_reader":
        raise ReaderError("input_config has no tf_record_input_reader: only records can be read.")
    categories = label_map_util.create_categories_from_labelmap(input_config.label_map_path)
    evaluator = eval_util.get_evaluators(eval_config, categories)[0]
    parser = tf_example_parser.TfExampleDetectionAndGTParser()
    left_out = 0
    for path in _generate_filenames(input_config.tf_record_input_reader.input_path):
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            parsed = parser.parse(tf.train.Example.FromString(record))
            if parsed is None:
                left_out += 1
                continue
            name = parsed[DetectionResultFields.key]
            evaluator.add_single_ground_truth_image_info(name, parsed)
            evaluator.add_single_detected_image_info(name, parsed)
    logging.info("%d records without detections or ground truth left out", left_out)
    return evaluator.evaluate()


def write_metrics(metrics: Mapping[str, Any], output_dir: str) -> None:
    """Write `metrics.csv` to a folder, which is made unless it is there."""
    path = writable_folder(Path(output_dir)) / "metrics.csv"
    with whole_file(path) as output, output.open("w", encoding="utf-8", newline="") as file:
        io_utils.write_csv(file, metrics)
    logging.info("Metrics written to %s.", path)


def _define_flags() -> None:
    flags.DEFINE_string("eval_dir", None, "Takes metrics.csv.", required=True)
    flags.DEFINE_string("eval_config_path", None, "A file with an EvalConfig.", required=True)
    flags.DEFINE_string("input_config_path", None, "A file with an InputReader.", required=True)


def _evaluate() -> None:
    configs = config_util.get_configs_from_multiple_files(
        eval_input_config_path=FLAGS.input_config_path, eval_config_path=FLAGS.eval_config_path
    )
    write_metrics(
        read_data_and_evaluate(configs["eval_input_config"], configs["eval_config"]), FLAGS.eval_dir
    )


def main(argv: Any) -> None:
    """Run as a script."""
    script.run(_evaluate)


if __name__ == "__main__":
    _define_flags()
    script.run(_evaluate)
