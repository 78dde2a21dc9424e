"""The command line: one parser, one verb per command, errors without tracebacks.

Each verb is imported only when it is called, so that help and mistyped flags are answered at once.
"""

import argparse
import dataclasses
import importlib
import logging
import math
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import boxtune
from boxtune import onednn
from boxtune.errors import BoxtuneError, WorkerLostError, did_you_mean
from boxtune.quiet import muted

UNFIT = 1
USER_ERROR = 2
INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """Answers a mistyped flag with the nearest one."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as usual, but refuse here, where the flags of the verb are known, what is left over."""
        found, left_over = super().parse_known_args(args, namespace)
        if left_over:
            known = [flag for action in self._actions for flag in action.option_strings]
            hint = did_you_mean(left_over[0].partition("=")[0], known)
            self.error(f"unrecognized arguments: {' '.join(left_over)}.{hint}")
        return found, left_over

    def error(self, message: str) -> NoReturn:
        """Print usage and the message, and leave with status 2."""
        self.print_usage(sys.stderr)
        self.exit(USER_ERROR, f"{self.prog}: {message}\n")
        raise AssertionError("exit does not return")


def integer(low: int, high: int = 2**31 - 1) -> Callable[[str], int]:
    """Return the type of a flag that takes whole numbers from `low` to `high`."""

    def parse(text: str) -> int:
        number = int(text)
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{number} is not in {low} to {high}")
        return number

    parse.__name__ = "whole number"
    return parse


def amount(text: str) -> float:
    """Read a number that is not below 0; for flags."""
    number = float(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not 0 or above")
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status.

    That is 0, 1 for a data set that `check` finds unfit, 2 for what the user can mend, 130 when interrupted.
    """
    options = vars(parser().parse_args(arguments))
    return run(options.pop("verb"), options)


def run(verb: Any, options: dict[str, Any]) -> int:
    """Call `verb` with `options`; tell a user error in one line."""
    _quiet()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill is an interruption too
    lost = None
    try:
        status = verb(**options)
    except WorkerLostError as error:
        lost = str(error)
    except BoxtuneError as error:
        print(f"boxtune: {' '.join(str(error).split())}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("boxtune: interrupted; run the same command again to go on", file=sys.stderr)
        return INTERRUPTED
    return _begin_again(lost) if lost else status or 0


def _begin_again(lost: str) -> NoReturn:
    """Start this program anew: TensorFlow cannot be connected twice, and whoever is gone may come back."""
    print(f"boxtune: {lost}. Beginning again from the last one", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _quiet() -> None:
    """Leave out what TensorFlow says of itself, and say our own warnings in plain lines."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(keras|tensorflow|google)\b")


def load(verb: str, model_dir: str | Path | None = None) -> ModuleType:
    """Import the module of a verb, without the lines that TensorFlow's libraries print while they load.

    Where a run in `model_dir` may go on, TensorFlow is loaded as that began.
    """
    if model_dir is not None:
        onednn.follow_run(Path(model_dir) / onednn.RUN)
    with muted():
        return importlib.import_module(f"boxtune.{verb}")


def parser() -> Parser:
    """Return the parser of all verbs; each puts the function to call under `verb`."""
    main_parser = Parser("boxtune", description="Retrain object detectors on your own photographs.")
    main_parser.add_argument("--version", action="version", version=f"boxtune {boxtune.__version__}")
    verbs = main_parser.add_subparsers(metavar="VERB", required=True, parser_class=Parser)
    for add in (
        _add_retrain,
        _add_check,
        _add_convert,
        _add_config,
        _add_train,
        _add_lr_range,
        _add_evaluate,
        _add_export,
        _add_predict,
        _add_draw,
    ):
        add(verbs)
    return main_parser


def _verb(verbs: Any, name: str, function: Any) -> argparse.ArgumentParser:
    described = function.__doc__ or ""
    verb = verbs.add_parser(name, help=described, description=described, allow_abbrev=False)
    verb.set_defaults(verb=function)
    return verb


def _add_overrides(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="FIELD=VALUE",
        help="change the configuration, such as train_config.batch_size=4; may be given many times",
    )  # fmt: skip


def _add_retrain(verbs: Any) -> None:
    verb = _verb(verbs, "retrain", _retrain)
    _add_data_set(verb)
    verb.add_argument("--model_dir", type=Path, required=True, help="takes everything that is written")
    verb.add_argument("--checkpoint", type=Path, help="a zoo download to start from; else random weights")
    verb.add_argument("--batch_size", type=integer(1), default=8, help="images in a step (%(default)s)")
    verb.add_argument(
        "--num_steps", type=integer(1), help="steps to train (600, or 30 times through the images)"
    )
    _add_choosing(verb, evaluate_every_n=None)
    _add_devices(verb)
    _add_overrides(verb)


def _retrain(**options: Any) -> None:
    """Photographs in, a retrained, measured, exported detector out."""
    retrain = load("retrain", options["model_dir"]).retrain

    data_set = _data_set(options)
    print(retrain(options=data_set, seed=data_set.seed, evaluating=_evaluating(options), **options))


def _add_data_set(verb: argparse.ArgumentParser) -> None:
    """Add the flags that say how a data set is to be read and split."""
    verb.add_argument("photos", type=Path, help="a folder of annotated photographs")
    verb.add_argument(
        "--annotations", type=Path, help="a file or folder of annotations, if not in that folder"
    )
    verb.add_argument("--format", dest="format_name", help="of the annotations; else it is recognised")
    verb.add_argument("--label_map", type=Path, help="numbers of the classes; else in order of their names")
    verb.add_argument(
        "--rename", type=_renaming, action="append", default=[], metavar="OLD=NEW",
        help="give a class another name; may be given many times",
    )  # fmt: skip
    verb.add_argument(
        "--drop", action="append", default=[], metavar="CLASS",
        help="leave out the objects of a class; may be given many times",
    )  # fmt: skip
    verb.add_argument("--validation_files", type=Path, help="a text file naming the images to validate on")
    verb.add_argument(
        "--validation_fraction", type=float,
        help="share to draw for validation; else the folders train, valid and test decide, or 0.2 is drawn",
    )  # fmt: skip
    verb.add_argument("--folds", type=integer(2), help="of a cross-validation")
    verb.add_argument("--fold", type=integer(1), help="which of the folds is for validation, from 1 on")
    verb.add_argument(
        "--max_unusable",
        type=float,
        default=0.5,
        help="fraction of the data that may be unusable (%(default)s)",
    )
    verb.add_argument("--num_workers", type=integer(1, 1024), help="processes (one for each core)")
    verb.add_argument("--seed", type=integer(0), default=0, help="of everything random (%(default)s)")


def _renaming(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not (old and equals and new):
        raise argparse.ArgumentTypeError(f'"{text}" is not OLD=NEW')
    return old, new


def _data_set(options: dict[str, Any]) -> Any:
    """Take the flags of a data set out of `options`."""
    from boxtune.data.preparation import Options

    given = {field.name: options.pop(field.name) for field in dataclasses.fields(Options)}
    return Options(**given | {"rename": dict(given["rename"])})


def _add_check(verbs: Any) -> None:
    verb = _verb(verbs, "check", _check)
    _add_data_set(verb)
    verb.add_argument("--page", type=Path, help="an HTML file to write, to look at pictures and findings")
    verb.add_argument("--report", type=Path, help="a JSON file to write, for programs")
    verb.add_argument("--pipeline_config_path", type=Path, help="to compare its anchors with the boxes")


def _check(**options: Any) -> int:
    """Find what is wrong with annotated photographs, and say what convert would do about it."""
    check = load("check").check

    data_set = _data_set(options)
    result = check(options=data_set, **options)
    print(result)
    return UNFIT if result.prepared.refusal else 0


def _add_convert(verbs: Any) -> None:
    verb = _verb(verbs, "convert", _convert)
    _add_data_set(verb)
    verb.add_argument("--output_dir", type=Path, required=True, help="takes records, label map and report")
    verb.add_argument("--to", default="tfrecord", help="tfrecord, voc, coco or yolo (%(default)s)")


def _convert(**options: Any) -> None:
    """Annotated photographs become TFRecords, a label map and a report."""
    convert = load("convert").convert

    data_set = _data_set(options)
    print(convert(options=data_set, **options))


def _add_config(verbs: Any) -> None:
    verb = _verb(verbs, "config", _config)
    verb.add_argument("records", type=Path, help="what `boxtune convert` wrote")
    verb.add_argument("--output", type=Path, required=True, help="the pipeline.config to write")
    verb.add_argument("--checkpoint", type=Path, help="a zoo download to start from; else random weights")
    verb.add_argument("--feature_extractor", help="of the stock recipe, where no checkpoint is given")
    verb.add_argument("--batch_size", type=integer(1), help="images in a step (8)")
    verb.add_argument(
        "--num_steps", type=integer(1), help="steps to train (600, or 30 times through the images)"
    )
    verb.add_argument("--learning_rate", type=float, help="the highest (0.01 for each image, at most 0.08)")
    _add_overrides(verb)


def _config(output: Path, overrides: list[str], **options: Any) -> None:
    """Write a pipeline.config for converted records."""
    from boxtune import config

    configure = load("configure").configure

    pipeline = configure(**{name: value for name, value in options.items() if value is not None})
    for override in overrides:
        config.apply_override(pipeline, override)
    config.write(pipeline, output)
    print(f"{output} is written. Next: boxtune train --pipeline_config_path {output} --model_dir FOLDER")


def _add_train(verbs: Any) -> None:
    verb = _verb(verbs, "train", _train)
    verb.add_argument("--pipeline_config_path", type=Path, required=True, help="the configuration")
    verb.add_argument("--model_dir", type=Path, required=True, help="takes checkpoints and summaries")
    verb.add_argument("--num_train_steps", type=integer(1), help="in place of train_config.num_steps")
    verb.add_argument(
        "--scale_lr", "--scale-lr", type=integer(1), nargs="?", const=128, metavar="BATCH_SIZE",
        help="scale the learning rates from this batch size (%(const)s) to that of the configuration",
    )  # fmt: skip
    verb.add_argument("--checkpoint_every_n", type=integer(1), default=1000, help="steps (%(default)s)")
    verb.add_argument(
        "--checkpoint_max_to_keep", type=integer(1), default=7, help="the newest so many (%(default)s)"
    )
    verb.add_argument(
        "--checkpoint_keep_every_n", type=integer(0), default=0, help="steps; keep these for good (none)"
    )
    _add_choosing(verb, evaluate_every_n=1000)
    _add_devices(verb)
    verb.add_argument("--seed", type=integer(0), default=0, help="of everything random (%(default)s)")
    _add_overrides(verb)


def _add_devices(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--num_devices", type=integer(1, 1024), help="GPUs of this machine that share each batch (all)"
    )


def _add_choosing(verb: argparse.ArgumentParser, *, evaluate_every_n: int | None) -> None:
    """Add the flags that say when a training is evaluated, what is best, and when it has to end."""
    verb.add_argument(
        "--evaluate_every_n", type=integer(0), default=evaluate_every_n,
        help=f"steps ({evaluate_every_n or 'a fifth of them'}); 0: at the end",
    )  # fmt: skip
    verb.add_argument(
        "--best_metric", default="mAP", help="to choose the best checkpoint by, such as AP50 (%(default)s)"
    )
    verb.add_argument(
        "--patience", type=integer(1), help="end after so many evaluations that are no better (never)"
    )
    verb.add_argument("--min_delta", type=amount, default=0.0, help="that is better (%(default)s)")


def _evaluating(options: dict[str, Any]) -> Any:
    """Take the flags that say when a training is evaluated, what is best, and when it ends out of `options`."""
    from boxtune.training.selection import Evaluating

    return Evaluating(
        every_n=options.pop("evaluate_every_n"),
        metric=options.pop("best_metric"),
        patience=options.pop("patience"),
        min_delta=options.pop("min_delta"),
    )


def _add_lr_range(verbs: Any) -> None:
    verb = _verb(verbs, "lr-range", _lr_range)
    verb.add_argument("--pipeline_config_path", type=Path, required=True, help="the configuration")
    verb.add_argument("--output_dir", type=Path, required=True, help="takes the curve as picture and numbers")
    verb.add_argument("--lowest", type=amount, default=1e-5, help="learning rate, first (%(default)s)")
    verb.add_argument("--highest", type=amount, default=10.0, help="learning rate, last (%(default)s)")
    verb.add_argument("--num_steps", type=integer(1), default=100, help="at most (%(default)s)")
    verb.add_argument("--seed", type=integer(0), default=0, help="of everything random (%(default)s)")
    _add_overrides(verb)


def _lr_range(**options: Any) -> None:
    """Try learning rates from low to high, and show what the loss does."""
    learning_rate_range = load("learning_rate_range").learning_rate_range

    print(learning_rate_range(**options))


def _train(**options: Any) -> None:
    """Train the detector that a pipeline.config describes, or go on training it."""
    verb = load("train", options["model_dir"])
    checkpointing = {
        name: options.pop(f"checkpoint_{name}") for name in ("every_n", "max_to_keep", "keep_every_n")
    }
    verb.train(
        checkpointing=verb.Checkpointing(**checkpointing),
        evaluating=_evaluating(options),
        reporting=verb.Reporting(
            load("report.evaluation").publish, load("report.pictures").training_pictures
        ),
        **options,
    )


def _add_evaluate(verbs: Any) -> None:
    verb = _verb(verbs, "evaluate", _evaluate)
    what = verb.add_argument_group("what is measured")
    what.add_argument("--model_dir", type=Path, help="of a training: its checkpoint and configuration")
    what.add_argument(
        "--which", choices=["newest", "best", "all"], default="newest",
        help="of its checkpoints (%(default)s); all: as a table over the steps",
    )  # fmt: skip
    what.add_argument("--checkpoint", type=Path, help="a folder, a prefix or an .index file")
    what.add_argument("--pipeline_config_path", type=Path, help="the configuration it was trained with")
    what.add_argument("--saved_model", type=Path, help="what `boxtune export` or the API's exporter wrote")
    what.add_argument("--detections", type=Path, help="of any program, as COCO's results JSON")
    where = verb.add_argument_group("what it is measured on")
    where.add_argument("--data", type=Path, help="records or annotated pictures (those of the configuration)")
    where.add_argument("--label_map", type=Path, help="of the model (the one that belongs to it)")
    where.add_argument(
        "--metrics_set", action="append", default=[], metavar="NAME",
        help="such as pascal_voc_detection_metrics (that of the configuration); may be given many times",
    )  # fmt: skip
    verb.add_argument(
        "--output_dir", type=Path, help="takes evaluation.html, evaluation.json and summaries (the model_dir)"
    )
    verb.add_argument(
        "--compare_with", type=Path, help="the evaluation.json of another run on the same pictures"
    )
    verb.add_argument(
        "--wait", action="store_true", help="with --which all: go on until the training has ended"
    )
    verb.add_argument(
        "--timeout", type=amount, help="seconds without a new checkpoint that end the waiting (3600)"
    )
    _add_overrides(verb)


def _evaluate(
    model_dir: Path | None,
    which: str,
    checkpoint: Path | None,
    pipeline_config_path: Path | None,
    output_dir: Path | None,
    wait: bool,
    timeout: float | None,
    **options: Any,
) -> None:
    """Measure a checkpoint, an exported model, or what another program has found."""
    _check_evaluate_flags(model_dir, which, checkpoint, wait, timeout, options)
    verb = load("evaluate")

    if options["saved_model"] or options["detections"]:
        verb.evaluate(pipeline_config_path, output_dir=output_dir or Path("evaluation"), **options)
        return
    configuration, folder = _trained(model_dir, pipeline_config_path, checkpoint)
    output = output_dir or model_dir or (folder if folder.is_dir() else folder.parent)
    if which == "all":
        for only_of_one in ("saved_model", "detections", "compare_with"):
            del options[only_of_one]
        limit = {} if timeout is None else {"timeout": timeout}
        verb.evaluate_checkpoints(configuration, folder, output_dir=output, wait=wait, **limit, **options)
    else:
        chosen = folder / "best" if which == "best" else folder
        verb.evaluate(configuration, chosen, output_dir=output, **options)


def _check_evaluate_flags(
    model_dir: Path | None,
    which: str,
    checkpoint: Path | None,
    wait: bool,
    timeout: float | None,
    options: dict[str, Any],
) -> None:
    """Refuse flags that would mean nothing beside others."""
    of_training = {
        "--model_dir": model_dir,
        "--checkpoint": checkpoint,
        f"--which {which}": which != "newest",
    }
    unused = [flag for flag, given in of_training.items() if given]
    if unused and (options["saved_model"] or options["detections"]):
        raise BoxtuneError(f"--saved_model and --detections go without {', '.join(unused)}")
    if wait and which != "all":
        raise BoxtuneError("--wait goes with --which all")
    if timeout is not None and not wait:
        raise BoxtuneError("--timeout goes with --wait")
    if options["compare_with"] and which == "all":
        raise BoxtuneError("--compare_with goes with one evaluation: leave --which all out")


def _add_export(verbs: Any) -> None:
    verb = _verb(verbs, "export", _export)
    verb.add_argument("--output_dir", type=Path, required=True, help="takes saved_model, checkpoint, config")
    verb.add_argument("--model_dir", type=Path, help="of a training: gives the two others their defaults")
    verb.add_argument("--pipeline_config_path", type=Path, help="the configuration it was trained with")
    verb.add_argument("--checkpoint", type=Path, help="a folder, a prefix or an .index file (the newest)")
    verb.add_argument("--input_type", default="image_tensor", help="what it takes (%(default)s)")
    _add_overrides(verb)


def _export(output_dir: Path, model_dir: Path | None, **options: Any) -> None:
    """Make a SavedModel of a checkpoint."""
    export = load("export").export

    where = _trained(model_dir, options.pop("pipeline_config_path"), options.pop("checkpoint"))
    print(f"Exported to {export(*where, output_dir, **options)}")


def _trained(model_dir: Path | None, config_path: Path | None, checkpoint: Path | None) -> tuple[Path, Path]:
    """Return configuration and checkpoint, from the model directory where they are not given."""
    COMPLETE_CONFIG = load("train").COMPLETE_CONFIG

    if model_dir is None and (config_path is None or checkpoint is None):
        raise BoxtuneError("give --model_dir, or both --pipeline_config_path and --checkpoint")
    folder = model_dir or Path()
    return config_path or folder / COMPLETE_CONFIG, checkpoint or folder


def _add_predict(verbs: Any) -> None:
    verb = _verb(verbs, "predict", _predict)
    verb.add_argument("model", type=Path, help="what `boxtune export` wrote")
    verb.add_argument("pictures", type=Path, help="a picture, or a folder of them")
    verb.add_argument("--output_dir", type=Path, required=True, help="takes the drawn pictures")
    verb.add_argument("--label_map", type=Path, help="names of the classes; else the one beside the model")
    verb.add_argument("--min_score", type=float, default=0.5, help="of what is drawn (%(default)s)")


def _predict(output_dir: Path, **options: Any) -> int:
    """Draw what an exported detector finds on pictures."""
    onednn.leave_to_tensorflow()
    predict = load("predict").predict

    predictions = predict(output_dir=output_dir, **options)
    found = sum(len(prediction.detections) for prediction in predictions)
    num_unread = sum(bool(prediction.error) for prediction in predictions)
    passed_over = f"; {num_unread} could not be read" if num_unread else ""
    print(f"{found} objects on {len(predictions) - num_unread} pictures, drawn in {output_dir}{passed_over}")
    return int(num_unread > 0)


def _add_draw(verbs: Any) -> None:
    verb = _verb(verbs, "draw", _draw)
    verb.add_argument("output_dir", type=Path, help="takes pictures and annotations")
    verb.add_argument("--num_images", type=integer(1), default=120, help="(%(default)s)")
    verb.add_argument("--seed", type=integer(0), default=0, help="(%(default)s)")


def _draw(**options: Any) -> None:
    """Draw a small annotated set of pictures to practise on."""
    draw = load("draw").draw

    print(draw(**options))


if __name__ == "__main__":
    sys.exit(main())
