"""The command line: one parser, one verb per command, errors without tracebacks.

Each verb is imported only when it is called, so that help and mistyped flags are answered at once.
"""

import argparse
import dataclasses
import importlib
import json
import logging
import math
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import boxtune
from boxtune import drop_in, onednn
from boxtune.errors import BoxtuneError, WorkerLostError, did_you_mean, escaped, to_copy
from boxtune.silence_stderr import silenced_stderr

Add = Callable[..., Any]
"""A verb's `add_argument`, or that of a group of its flags."""

UNFIT = 1
USER_ERROR = 2
INTERRUPTED = 130
OUTPUT_CLOSED = 141  # as of other programs, which SIGPIPE ends


class Parser(argparse.ArgumentParser):
    """Suggests the nearest flag for a mistyped one."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as usual, but refuse unknown flags here, where those of the verb are known."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            known = [flag for action in self._actions for flag in action.option_strings]
            hint = did_you_mean(unknown[0].partition("=")[0], known)
            self.error(f"unrecognized arguments: {' '.join(unknown)}.{hint}")
        return parsed, unknown

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

    That is 0, 1 for a data set that `check` finds unfit or images that `predict` cannot read, 2 for what the user can
    fix, 130 when interrupted, 141 when nobody reads the output any more.
    """
    options = vars(parser().parse_args(arguments))
    verb = options.pop("verb")
    if not drop_in.is_own() and verb is not _doctor:  # which tells it itself
        print(
            "boxtune: another package has replaced boxtune's object_detection: `boxtune doctor` says more",
            file=sys.stderr,
        )
    return run(verb, options)


def run(verb: Any, options: dict[str, Any]) -> int:
    """Call `verb` with `options`; report a user error in one line."""
    _silence_libraries()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM is an interruption, too
    lost = None
    try:
        status = verb(**options)
        if sys.stdout:
            sys.stdout.flush()
    except WorkerLostError as error:
        lost = str(error)
    except BoxtuneError as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:  # where files are run without TensorFlow, it need not be installed
        package = (error.name or "").partition(".")[0]
        if package in ("", "boxtune"):
            raise
        return _fail(
            f"this needs {package}, which is not installed: install boxtune with all that it depends on"
        )
    except BrokenPipeError:
        _flush_or_discard()
        return OUTPUT_CLOSED
    except OSError as error:
        _flush_or_discard()
        return _fail(f"{f'{error.filename}: ' if error.filename else ''}{error.strerror or error}")
    except KeyboardInterrupt:
        again = "run it without --overwrite" if "--overwrite" in sys.argv else "run the same command again"
        print(f"boxtune: interrupted; {again} to continue", file=sys.stderr)
        return INTERRUPTED
    return _restart(lost) if lost else status or 0


def _fail(reason: str) -> int:
    """Print an error in one line, and what it lists in lines of their own, which are indented."""
    lines = [escaped(" ".join(line.split())) for line in reason.split("\n  ")]
    with suppress(OSError):  # nobody can be told where standard error is full
        print("boxtune: " + "\n  ".join(lines), file=sys.stderr)
    return USER_ERROR


def _flush_or_discard() -> None:
    """Write what is still to be written to standard output; discard what would fail again when Python ends."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError), open(os.devnull, "wb") as null:
            os.dup2(null.fileno(), sys.stdout.fileno())


def _restart(lost: str) -> NoReturn:
    """Start this program anew: TensorFlow cannot be connected twice, and the lost worker may come back."""
    print(f"boxtune: {lost}. Restarting from the last one", file=sys.stderr, flush=True)
    sys.stdout.flush()
    arguments = [argument for argument in sys.orig_argv[1:] if argument != "--overwrite"]  # that was done
    os.execv(sys.executable, [sys.executable, *arguments])


def _silence_libraries() -> None:
    """Leave out TensorFlow's messages about itself, and print our own warnings as plain lines."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    handler = logging.StreamHandler()
    handler.setFormatter(_EscapingFormatter("%(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(keras|tensorflow|google)\b")


class _EscapingFormatter(logging.Formatter):
    """Escapes what a terminal would obey: names in messages come from files of any origin."""

    def format(self, record: logging.LogRecord) -> str:
        return escaped(super().format(record))


def load(verb: str, model_dir: str | Path | None = None) -> ModuleType:
    """Import the module of a verb, without the lines that TensorFlow's libraries print while they load.

    If a run in `model_dir` may be resumed, TensorFlow is loaded with the settings of that run.
    """
    if model_dir is not None:
        onednn.follow_run(Path(model_dir) / onednn.RUN)
    with silenced_stderr():
        return importlib.import_module(f"boxtune.{verb}")


def parser() -> Parser:
    """Return the parser of all verbs; each puts the function to call under `verb`."""
    main_parser = Parser("boxtune", description="Retrain object detectors on your own photographs.")
    main_parser.add_argument("--version", action="version", version=f"boxtune {boxtune.__version__}")
    verbs = main_parser.add_subparsers(metavar="VERB", required=True, parser_class=Parser)
    adders = (_add_retrain, _add_check, _add_convert, _add_models, _add_config, _add_train)
    for add in (
        *adders,
        _add_lr_range,
        _add_evaluate,
        _add_export,
        _add_benchmark,
        _add_runs,
        _add_predict,
        _add_label,
        _add_serve,
        _add_draw,
        _add_doctor,
    ):
        add(verbs)
    return main_parser


def _verb(verbs: Any, name: str, function: Any) -> argparse.ArgumentParser:
    description = function.__doc__ or ""
    verb = verbs.add_parser(name, help=description, description=description, allow_abbrev=False)
    verb.set_defaults(verb=function)
    return verb


def _add_overrides(add: Add) -> None:
    _add_list(
        add,
        "--set",
        "FIELD=VALUE",
        "change the configuration, such as train_config.batch_size=4",
        dest="overrides",
    )


def _add_list(add: Add, flag: str, metavar: str, description: str, **options: Any) -> None:
    """Add a flag that may be given many times."""
    description += "; may be given many times"
    add(flag, action="append", default=[], metavar=metavar, help=description, **options)


def _add_names(add: Add, flag: str, metavar: str, description: str, **options: Any) -> None:
    """Add a flag of one or more names, with commas between them."""
    add(
        flag,
        action="extend",
        type=lambda text: [name.strip() for name in text.split(",")],
        default=[],
        metavar=f"{metavar}[,{metavar}]",
        help=description,
        **options,
    )


def _add_retrain(verbs: Any) -> None:
    verb = _verb(verbs, "retrain", _retrain)
    add = verb.add_argument
    _add_data_set(add)
    add("--model_dir", type=Path, required=True, help="for everything that is written")
    _add_cutting(add)
    _add_model(verb)
    _add_training_options(add, evaluate_every_n=None)
    next_run = "with other images, classes or settings train on from the best weights, as the next run"
    add("--next_run", action="store_true", help=next_run)
    formats = "onnx, openvino or tflite: what to export besides the SavedModel"
    _add_names(add, "--export", "FORMAT", formats, dest="formats")
    _add_precisions(add)
    _add_overrides(add)


def _retrain(**options: Any) -> None:
    """Photographs in, a retrained, measured, exported detector out."""
    retrain = load("retrain", options["model_dir"]).retrain
    cutting, evaluation = _cutting(options), _evaluation_options(options)
    data_set = dataclasses.replace(_data_set(options), cutting=cutting)
    _require_sha256(options)
    if data_set.folds and not data_set.fold:
        retrain = load("cross_validate").cross_validate
    print(retrain(options=data_set, evaluation_options=evaluation, **options))


def _add_data_set(add: Add) -> None:
    """Add the flags for reading and splitting a data set."""
    add(
        "photos",
        type=Path,
        nargs="+",
        help="a folder of annotated photographs; of several, classes merge by name",
    )
    _add_reading(add)
    add("--label_map", type=Path, help="ids of the classes; else in order of their names")
    add("--validation_files", type=Path, help="a text file naming the images to validate on")
    add(
        "--validation_fraction", type=float,
        help="random fraction for validation; else by lists or folders train, valid and test, or 0.2",
    )  # fmt: skip
    add("--folds", type=integer(2), help="of a cross-validation")
    add(
        "--fold",
        type=integer(1),
        help="which of the folds is for validation, from 1 on; retrain: else all in turn",
    )
    add("--new_split", action="store_true", help="draw a split anew, also of images that had a part before")
    add("--seed", type=integer(0), default=0, help="of everything random (%(default)s)")


def _add_reading(add: Add) -> None:
    """Add the flags for reading annotated images."""
    add("--annotations", type=Path, help="a file or folder of annotations, if not in that folder")
    add("--format", dest="format_name", help="of the annotations; else it is detected")
    add(
        "--boxes", default="", metavar="WORDS",
        help="how boxes are written, if not as in their format: pixels or normalized, and corners, sides, centres,"
        " yxyx or xxyy, with a comma between; as_written if they are right",
    )  # fmt: skip
    add(
        "--exif", default="", metavar="upright|stored",
        help="how images with an EXIF orientation were shown when their boxes were drawn, where it is not known",
    )  # fmt: skip
    add(
        "--image_names", default="", metavar="own|written",
        help="the image of an annotation file that names another image than its own name does",
    )  # fmt: skip
    _add_list(add, "--rename", "OLD=NEW", "give a class another name", type=_renaming)
    _add_list(add, "--drop", "CLASS", "leave out the objects of a class")
    add(
        "--max_unusable",
        type=float,
        default=0.5,
        help="fraction of the data that may be unusable (%(default)s)",
    )
    add("--num_workers", type=integer(1, 1024), help="processes (one for each core)")


def _renaming(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not (old and equals and new):
        raise argparse.ArgumentTypeError(f'"{text}" is not OLD=NEW')
    return old, new


def _data_set(options: dict[str, Any]) -> Any:
    """Pop the flags of a data set, as far as the verb has them, from `options`."""
    from boxtune.data.preparation import Options

    names = [field.name for field in dataclasses.fields(Options) if field.name in options]
    given = {name: options.pop(name) for name in names}
    return Options(**given | {"rename": dict(given["rename"]), "drop": tuple(given["drop"])})


def _add_check(verbs: Any) -> None:
    add = _verb(verbs, "check", _check).add_argument
    _add_data_set(add)
    add("--page", type=Path, help="an HTML file to write, with images and findings")
    add("--report", type=Path, help="a JSON file to write, for programs")
    add("--pipeline_config_path", type=Path, help="to compare its anchors with the boxes")
    doubting = (
        "that doubts labels: of `boxtune export` or `retrain`, or a checkpoint; of several, each image is shown to the "
        "first that was not trained on it"
    )
    _add_list(add, "--model", "MODEL", doubting, dest="models", type=Path)


def _check(**options: Any) -> int:
    """Find what is wrong with annotated photographs, and say what convert would do about it."""
    result = load("check").check(options=_data_set(options), **options)
    print(result)
    return UNFIT if result.prepared.refusal else 0


def _add_convert(verbs: Any) -> None:
    add = _verb(verbs, "convert", _convert).add_argument
    _add_data_set(add)
    add("--output_dir", type=Path, required=True, help="for records, label map and report")
    add("--to", default="tfrecord", help="tfrecord, voc, coco, yolo or label_studio (%(default)s)")
    _add_cutting(add)


def _convert(**options: Any) -> None:
    """Convert annotated photographs to TFRecords, a label map and a report."""
    convert = load("convert").convert
    cutting = _cutting(options)
    print(convert(options=dataclasses.replace(_data_set(options), cutting=cutting), **options))


def _add_cutting(add: Add) -> None:
    _add_tiles(add, "cut larger images into squares of this many pixels, beside the whole, for small objects")
    visible = (
        "fraction of an object that a tile has to show; of less it is neither object nor background (0.5)"
    )
    add("--min_visible", type=float, help=visible)


def _cutting(options: dict[str, Any]) -> Any:
    """Pop the flags about cutting images from `options`; return how they are cut, None if they stay whole."""
    from boxtune.data.cutting import MIN_VISIBLE, Cutting

    tiling, visible = _tiling(options), options.pop("min_visible")
    if tiling is None:
        if visible is not None:
            raise BoxtuneError("--min_visible goes with --tile, such as --tile 640")
        return None
    return Cutting(tiling, MIN_VISIBLE if visible is None else visible)


def _add_config(verbs: Any) -> None:
    verb = _verb(verbs, "config", _config)
    add = verb.add_argument
    add("records", type=Path, help="the folder that `boxtune convert` wrote")
    add("--output", type=Path, required=True, help="the pipeline.config to write")
    _add_model(verb)
    _add_overrides(add)


def _config(output: Path, overrides: list[str], **options: Any) -> None:
    """Write a pipeline.config for converted records."""
    configure = load("configure").configure
    _require_sha256(options)
    from boxtune import config

    pipeline = configure(**{name: value for name, value in options.items() if value is not None})
    for override in overrides:
        config.apply_override(pipeline, override)
    config.write(pipeline, output)
    following = to_copy("boxtune", "train", "--pipeline_config_path", output, "--model_dir", "FOLDER")
    print(f"Wrote {output}. Next: {following}")


def _add_model(verb: argparse.ArgumentParser) -> None:
    """Add the flags for what is trained, in which steps."""
    add = verb.add_argument
    add(
        "--checkpoint",
        metavar="WEIGHTS",
        help="to start from: a name of `boxtune models`, which is downloaded once, a URL or .tar.gz of a zoo download, "
        "a folder, or a checkpoint in it; else random weights",
    )
    add("--sha256", metavar="DIGITS", help="that the download or archive has to have")
    add(
        "--model", metavar="NAME",
        help="one of `boxtune models`, to start from random weights or from a checkpoint without a configuration",
    )  # fmt: skip
    add(
        "--batch_size", type=_batch_size, default=8, metavar="NUMBER|auto",
        help="images in a step (%(default)s); auto: the largest up to 8, on a GPU 32, that surely fits into memory",
    )  # fmt: skip
    steps = "steps to train (600, or 30 times through the images)"
    add("--num_steps", type=integer(1), help=steps)
    add(
        "--learning_rate",
        type=float,
        help="the highest (0.01 for each image, at most 0.08; from a checkpoint 3/4 of it, of the same classes 1/4)",
    )


def _batch_size(text: str) -> int | str:
    try:
        return text if text == "auto" else integer(1)(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is neither a number nor auto') from None


def _require_sha256(options: dict[str, Any]) -> None:
    """Pop --sha256 from `options`; if it is given, find the checkpoint, which has to have it."""
    sha256 = options.pop("sha256")
    if sha256 and not options["checkpoint"]:
        raise BoxtuneError("--sha256 goes with --checkpoint")
    if sha256:
        from boxtune import weights

        options["checkpoint"] = weights.locate(options["checkpoint"], sha256)


def _add_models(verbs: Any) -> None:
    verb = _verb(verbs, "models", _models)
    verb.add_argument("--where", action="store_true", help="say where downloaded weights are kept, and which")


def _models(where: bool) -> None:
    """List the models that can be trained, what each costs, and how to choose."""
    verb = load("list_models")
    print(verb.list_downloads() if where else verb.list_models())


def _add_train(verbs: Any) -> None:
    add = _verb(verbs, "train", _train).add_argument
    add("--pipeline_config_path", type=Path, required=True, help="the configuration")
    add("--model_dir", type=Path, required=True, help="for checkpoints and summaries")
    add("--num_train_steps", type=integer(1), help="in place of train_config.num_steps; no schedule changes")
    add(
        "--scale_lr", "--scale-lr", type=integer(1), nargs="?", const=128, metavar="BATCH_SIZE",
        help="scale the learning rates from this batch size (%(const)s) to that of the configuration",
    )  # fmt: skip
    add("--checkpoint_every_n", type=integer(1), default=1000, help="steps (%(default)s)")
    add("--checkpoint_max_to_keep", type=integer(1), default=7, help="newest checkpoints (%(default)s)")
    add("--checkpoint_keep_every_n", type=integer(0), default=0, help="steps; never removed (none)")
    _add_training_options(add, evaluate_every_n=1000)
    add("--seed", type=integer(0), default=0, help="of everything random (%(default)s)")
    _add_overrides(add)


def _add_training_options(add: Add, *, evaluate_every_n: int | None) -> None:
    """Add the flags for evaluation during a training, the best checkpoint, early stopping, devices, a new start."""
    add(
        "--evaluate_every_n", type=integer(0), default=evaluate_every_n,
        help=f"steps ({evaluate_every_n or 'a fifth of them'}); 0: at the end",
    )  # fmt: skip
    add("--best_metric", default="mAP", help="to choose the best checkpoint by, such as AP50 (%(default)s)")
    add("--patience", type=integer(1), help="stop after this many evaluations without improvement (never)")
    add("--min_delta", type=amount, default=0.0, help="of an improvement (%(default)s)")
    recalibrate = "for each evaluation and the best checkpoint estimate batch normalization's statistics anew"
    add("--recalibrate", action="store_true", help=recalibrate)
    add("--num_devices", type=integer(1, 1024), help="GPUs of this machine that share each batch (all)")
    add("--overwrite", action="store_true", help="remove what the model_dir holds of runs, and begin anew")


def _evaluation_options(options: dict[str, Any]) -> Any:
    """Pop the flags for evaluation during a training, the best checkpoint and early stopping from `options`."""
    from boxtune.training.early_stopping import EvaluationOptions

    return EvaluationOptions(
        every_n=options.pop("evaluate_every_n"),
        metric=options.pop("best_metric"),
        patience=options.pop("patience"),
        min_delta=options.pop("min_delta"),
        recalibrate=options.pop("recalibrate"),
    )


def _add_lr_range(verbs: Any) -> None:
    add = _verb(verbs, "lr-range", _lr_range).add_argument
    add("--pipeline_config_path", type=Path, required=True, help="the configuration")
    add("--output_dir", type=Path, required=True, help="for the curve as image and numbers")
    add("--lowest", type=amount, default=1e-5, help="first learning rate (%(default)s)")
    add("--highest", type=amount, default=10.0, help="last learning rate (%(default)s)")
    add("--num_steps", type=integer(1), default=100, help="at most (%(default)s)")
    add("--seed", type=integer(0), default=0, help="of everything random (%(default)s)")
    _add_overrides(add)


def _lr_range(**options: Any) -> None:
    """Try learning rates from low to high, and show the loss."""
    print(load("lr_range").lr_range(**options))


def _train(**options: Any) -> None:
    """Train the detector that a pipeline.config describes, or resume training it."""
    verb = load("train", options["model_dir"])
    names = ("every_n", "max_to_keep", "keep_every_n")
    saving = {name: options.pop(f"checkpoint_{name}") for name in names}
    verb.train(
        checkpoint_options=verb.CheckpointOptions(**saving, overwrite=options.pop("overwrite")),
        evaluation_options=_evaluation_options(options),
        reporting=verb.Reporting(
            load("report.evaluation").publish,
            load("report.box_drawing").training_images,
            load("training.memory").doubt,
        ),
        **options,
    )


def _add_evaluate(verbs: Any) -> None:
    verb = _verb(verbs, "evaluate", _evaluate)
    add = verb.add_argument
    what = verb.add_argument_group("what is measured")
    what.add_argument("--model_dir", type=Path, help="of a training: its checkpoint and configuration")
    what.add_argument(
        "--which", choices=["best", "newest", "all"],
        help="of its runs and checkpoints (best); all: those of the newest run, as a table by step",
    )  # fmt: skip
    what.add_argument("--checkpoint", type=Path, help="a folder, a prefix or an .index file")
    what.add_argument("--pipeline_config_path", type=Path, help="the configuration it was trained with")
    what.add_argument(
        "--saved_model", "--model", type=Path, help="of `boxtune export` (.onnx, too) or the API's exporter"
    )
    what.add_argument(
        "--detections",
        type=Path,
        help="of any program, as COCO's results JSON, or the detections.json of `boxtune predict`",
    )
    where = verb.add_argument_group("what it is measured on")
    where.add_argument("--data", type=Path, help="records or annotated images (those of the configuration)")
    where.add_argument("--label_map", type=Path, help="of the model (its own)")
    _add_reading(verb.add_argument_group("how annotated images are read").add_argument)
    metrics = "such as pascal_voc_detection_metrics (that of the configuration)"
    _add_list(where.add_argument, "--metrics_set", "NAME", metrics)
    add("--output_dir", type=Path, help="for evaluation.html, evaluation.json and summaries (the model_dir)")
    add("--compare_with", type=Path, help="the evaluation.json of another run on the same images")
    add(
        "--min_precision", type=amount,
        help="keep for `predict` the thresholds of the highest F1 that have this precision, such as 0.9",
    )  # fmt: skip
    _add_tiles(add, "look at tiles of this many pixels and at the whole, for small objects in large images")
    add("--wait", action="store_true", help="with --which all: wait until the training has ended")
    add("--timeout", type=amount, help="seconds to wait for a new checkpoint (3600)")
    _add_overrides(add)


def _add_tiles(add: Add, what: str) -> None:
    add("--tile", type=int, metavar="PIXELS", help=what)
    add("--overlap", type=float, help="of neighbouring tiles, as a fraction of their side (0.2)")


def _tiling(options: dict[str, Any]) -> Any:
    """Pop the flags about tiles from `options`; return how images are cut, None if they stay whole."""
    from boxtune.data.tiling import tiling_of

    return tiling_of(options.pop("tile"), options.pop("overlap"))


def _evaluate(**options: Any) -> None:
    """Measure a checkpoint, an exported model, or the detections of another program."""
    _check_evaluate_flags(**options)
    verb = load("evaluate")
    config_path, which, wait, timeout = (
        options.pop(name) for name in ("pipeline_config_path", "which", "wait", "timeout")
    )
    label_map = options.pop("label_map")  # of the model
    options |= {"tiling": _tiling(options), "reading": _data_set(options), "label_map": label_map}
    model_dir, checkpoint = options["model_dir"], options.pop("checkpoint")
    options["output_dir"] = options["output_dir"] or verb.default_output_dir(model_dir, checkpoint)
    if metrics_set := options.pop("metrics_set"):
        options["overrides"].append(f"eval_config.metrics_set={json.dumps(metrics_set)}")
    if which == "all":
        for only_of_one in ("saved_model", "detections", "compare_with", "min_precision", "tiling"):
            del options[only_of_one]
        limit = {} if timeout is None else {"timeout": timeout}
        verb.evaluate_checkpoints(config_path, checkpoint, wait=wait, **limit, **options)
    else:
        from boxtune.training.project import best_checkpoint, runs_of

        if which == "newest" and model_dir:
            options["model_dir"] = runs_of(model_dir)[-1]
            checkpoint = checkpoint or options["model_dir"]
        elif which == "best" and checkpoint:
            checkpoint = best_checkpoint(checkpoint)
        verb.evaluate(config_path, checkpoint, **options)


def _check_evaluate_flags(*, which: str | None, wait: bool, timeout: float | None, **options: Any) -> None:
    """Refuse flags that have no meaning together."""
    of_training = {
        "--model_dir": options["model_dir"],
        "--checkpoint": options["checkpoint"],
        f"--which {which}": which,
    }
    unused = [flag for flag, value in of_training.items() if value]
    if unused and (options["saved_model"] or options["detections"]):
        raise BoxtuneError(f"--saved_model and --detections go without {', '.join(unused)}")
    if wait and which != "all":
        raise BoxtuneError("--wait goes with --which all")
    if timeout is not None and not wait:
        raise BoxtuneError("--timeout goes with --wait")
    for flag in ("compare_with", "min_precision", "tile"):
        if options[flag] is not None and which == "all":
            raise BoxtuneError(f"--{flag} goes with one evaluation: leave --which all out")


def _add_export(verbs: Any) -> None:
    verb = _verb(verbs, "export", _export)
    add = verb.add_argument
    add("--output_dir", type=Path, required=True, help="for saved_model, checkpoint, config")
    add("--model_dir", type=Path, help="of a training: the default for the other two")
    add("--pipeline_config_path", type=Path, help="the configuration it was trained with")
    add("--checkpoint", type=Path, help="a folder, a prefix or an .index file")
    add(
        "--which",
        choices=["best", "newest"],
        default="best",
        help="of its runs and checkpoints (%(default)s)",
    )
    add("--input_type", default="image_tensor", help="of the signature (%(default)s)")
    formats = "saved_model (the default), onnx, openvino or tflite; several, with commas between them"
    _add_names(add, "--format", "FORMAT", formats, dest="formats")
    _add_precisions(add)
    add("--calibration_images", type=integer(1), help="of the records, for int8 (100)")
    end = verb.add_mutually_exclusive_group().add_argument
    end("--nms", default="native", help="how an ONNX file ends: native, none or efficient_nms (%(default)s)")
    end("--without_nms", action="store_const", const="none", dest="nms", help="the same as --nms none")
    add("--score_threshold", type=float, help="leave out detections that score no more; may lower mAP")
    _add_overrides(add)


def _add_precisions(add: Add) -> None:
    precisions = "float32 (the default), float16, dynamic_range or int8: in those of them that a format has"
    _add_names(add, "--precision", "PRECISION", precisions, dest="precisions")


def _export(output_dir: Path, model_dir: Path | None, which: str, **options: Any) -> None:
    """Export a checkpoint as a SavedModel or in other formats, each compared with the checkpoint."""
    options["formats"] = options["formats"] or ["saved_model"]
    export = load("export").export
    from boxtune.training.project import best_checkpoint, best_run, runs_of
    from boxtune.training.run_state import trained_in

    checkpoint = options.pop("checkpoint")
    if model_dir and not checkpoint:
        runs = runs_of(model_dir)
        model_dir = best_run(runs) if which == "best" else runs[-1]
        checkpoint = best_checkpoint(model_dir) if which == "best" else model_dir
    where = trained_in(model_dir, options.pop("pipeline_config_path"), checkpoint)
    print(f"Exported to {export(*where, output_dir, **options)}")


def _add_benchmark(verbs: Any) -> None:
    add = _verb(verbs, "benchmark", _benchmark).add_argument
    of_folder = "of a folder of `boxtune export` every format is measured, of a training its exported model"
    add("models", type=Path, nargs="+", metavar="MODEL", help=f"a SavedModel or a file; {of_folder}")
    add("--images", type=Path, help="a folder of what they look at; else noise")
    add("--size", type=integer(1), default=640, help="of the sides of the noise, in pixels (%(default)s)")
    add("--rounds", type=integer(1), default=20, help="in which each has its turn (%(default)s)")
    several = "of a runtime, such as 1,2 to measure both (as many as it takes by itself)"
    add("--threads", type=_whole_numbers, default=[], metavar="N,N", help=several)
    add("--json", type=Path, help="a JSON file to write, for programs")


def _whole_numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


_whole_numbers.__name__ = "list of whole numbers"  # which errors of argparse name


def _benchmark(**options: Any) -> None:
    """Measure how fast exported models are on this machine, side by side."""
    print(load("benchmark").benchmark(**options))


def _add_runs(verbs: Any) -> None:
    add = _verb(verbs, "runs", _runs).add_argument
    add("project", type=Path, help="the --model_dir of `boxtune retrain`")
    add("--page", type=Path, help="an HTML file to write, with the curves of all runs")
    add(
        "--same_images",
        action="store_true",
        help="measure all of them on the validation images of the newest",
    )


def _runs(**options: Any) -> None:
    """List the runs of a project, what changed from one to the next, and which is the best."""
    print(load("runs").runs(**options))


def _add_predict(verbs: Any) -> None:
    verb = _verb(verbs, "predict", _predict)
    add = verb.add_argument
    add("model", type=Path, help="of `boxtune export` or `retrain`, or a checkpoint")
    add(
        "images",
        nargs="+",
        help="files, folders, patterns, lists of files (.txt), URLs, videos, camera:0, or - for standard input",
    )
    add("--output_dir", type=Path, required=True, help="for all that is written")
    _add_detecting(add)
    _add_list(add, "--class", "NAME", "show only the objects of a class", dest="classes")
    formats = "more formats of the detections: csv, voc, coco or yolo"
    _add_list(add, "--to", "FORMAT", formats)
    add("--no_drawings", action="store_true", help="draw no images")
    add("--crops", action="store_true", help="write what is in each box as an image, by class")
    add(
        "--frame_step",
        type=integer(1),
        default=1,
        metavar="N",
        help="of videos: look at every Nth frame (%(default)s)",
    )


def _add_detecting(add: Add) -> None:
    """Add the flags for what finds objects, and from which score on."""
    add("--label_map", type=Path, help="names of the classes; else the one beside the model")
    add("--min_score", type=float, help="of what is shown (thresholds.json beside the model; else 0.5)")
    add("--batch_size", type=integer(1), default=8, help="images at a time, of a checkpoint (%(default)s)")
    _add_tiles(add, "look at tiles of this many pixels and at the whole, for small objects in large images")


def _predict(no_drawings: bool, **options: Any) -> int:
    """Find objects in images and videos, draw them, and write what was found."""
    onednn.leave_to_tensorflow()
    result = load("predict").predict(drawings=not no_drawings, **options)
    print(result)
    return INTERRUPTED if result.stopped else int(bool(result.unread))


def _add_label(verbs: Any) -> None:
    add = _verb(verbs, "label", _label).add_argument
    add("model", type=Path, help="of `boxtune export` or `retrain`, or a checkpoint")
    add(
        "images",
        nargs="+",
        help="files, folders, patterns or lists of files; those with annotations are left out",
    )
    add("--output_dir", type=Path, required=True, help="for copies of the images, and their annotations")
    add("--to", default="voc", help="voc, coco, yolo or label-studio (%(default)s)")
    add(
        "--order",
        choices=["least_sure", "surest"],
        default="least_sure",
        help="what comes first (%(default)s)",
    )
    add("--num_images", type=integer(1), help="to label, the first by that order (all)")
    labelled = "a folder of which the images are labelled, or were by an earlier call"
    _add_list(add, "--labelled", "FOLDER", labelled, type=Path)
    _add_detecting(add)
    _add_list(add, "--class", "NAME", "label only the objects of a class", dest="classes")


def _label(**options: Any) -> int:
    """Label images with a model, to be corrected in LabelImg, CVAT or Label Studio."""
    onednn.leave_to_tensorflow()
    result = load("label").label(**options)
    print(result)
    return int(bool(result.unread))


def _add_serve(verbs: Any) -> None:
    verb = _verb(verbs, "serve", _serve)
    add = verb.add_argument
    add("model", type=Path, help="the folder of `boxtune retrain` or `export`, or a checkpoint")
    add(
        "--host",
        default="127.0.0.1",
        help="address to listen on (%(default)s: only this machine is answered)",
    )
    add("--port", type=integer(0, 65535), default=8000, help="0 for any that is free (%(default)s)")
    token = "that every request has to bring; else that of the environment's BOXTUNE_TOKEN"
    add("--token", help=f"{token}; on other hosts than this machine one is drawn if there is none")
    limit = verb.add_argument_group("what is taken at most").add_argument
    limit("--max_request_mb", type=amount, default=64, help="MiB of a request (%(default)s)")
    limit("--max_image_mb", type=amount, default=32, help="MiB of an image (%(default)s)")
    limit("--max_megapixels", type=amount, default=50, help="of an image (%(default)s)")
    limit("--max_images", type=integer(1), default=16, help="in a request (%(default)s)")
    limit("--max_waiting", type=integer(1), default=64, help="images that are not answered yet (%(default)s)")
    limit("--receive_seconds", type=amount, default=60, help="for a request to arrive (%(default)s)")
    limit("--answer_seconds", type=amount, default=60, help="for its answer, from then on (%(default)s)")


def _serve(**options: Any) -> int:
    """Serve a model: a page to try it with images or a camera, and detections as JSON."""
    if (options["model"] / "saved_model").is_dir():
        onednn.leave_to_tensorflow()
    verb = load("serve")
    limits = verb.Limits(
        request_bytes=int(options.pop("max_request_mb") * 2**20),
        image_bytes=int(options.pop("max_image_mb") * 2**20),
        image_pixels=int(options.pop("max_megapixels") * 10**6),
        images=options.pop("max_images"),
        waiting=options.pop("max_waiting"),
        receive_seconds=options.pop("receive_seconds"),
        answer_seconds=options.pop("answer_seconds"),
    )
    token = options.pop("token") or os.environ.get(verb.TOKEN) or None
    try:
        verb.serve(token=token, limits=limits, **options)
    except KeyboardInterrupt:
        print("boxtune: stopped", file=sys.stderr)
        return INTERRUPTED
    return 0


def _add_draw(verbs: Any) -> None:
    add = _verb(verbs, "draw", _draw).add_argument
    add("output_dir", type=Path, help="for images and annotations")
    add("--num_images", type=integer(1), default=120, help="(%(default)s)")
    add("--seed", type=integer(0), default=0, help="(%(default)s)")
    add("--size", type=int, default=320, help="width of the images in pixels (%(default)s)")
    sizes = "diameters of the objects, from and to (a tenth to a half of the height of the images)"
    add("--object_size", type=float, nargs=2, metavar="PIXELS", help=sizes)
    add("--objects", type=int, help="in each image (1 to 4)")


def _draw(**options: Any) -> None:
    """Draw a small annotated set of images to practise on."""
    print(load("draw").draw(**options))


def _add_doctor(verbs: Any) -> None:
    _verb(verbs, "doctor", _doctor)


def _doctor() -> int:
    """Say what is installed, from where, what this machine has, and what is missing or wrong with it."""
    found = load("doctor").doctor()
    print(found)
    return 1 if found.faults else 0


if __name__ == "__main__":
    sys.exit(main())
