"""The verb `config`: a pipeline.config for converted records."""

from pathlib import Path

from google.protobuf.message import Message

from boxtune import config, weights
from boxtune.config import pipeline_pb2, zoo
from boxtune.convert import LABEL_MAP_NAME
from boxtune.data.label_map import LabelMap, read_label_map
from boxtune.data.tfrecord import RecordIndex
from boxtune.errors import ConfigError
from boxtune.training import checkpoints
from boxtune.training.learning_rates import RATE_PER_IMAGE
from boxtune.training.project import best_checkpoint, best_run, runs_of
from boxtune.training.run_state import LABEL_MAP, PIPELINE_CONFIG, config_near
from boxtune.training.warm_start import known_classes

BATCH_SIZE = 8
MAX_LEARNING_RATE = 0.08
NEW_LAYERS_FACTOR = 4
"""How many times as fast as the others the layers of new classes learn."""
_RATES = {"all_but_classes": 0.75, "full": 0.25}
"""The fractions of these rates by what of a checkpoint is loaded: with the same classes little is left to learn."""
MIN_STEPS, MIN_EPOCHS = 600, 30
WARMUP_FRACTION, WARMUP_FACTOR = 1 / 6, 1 / 3
SETTLING_FRACTION, LEAST_DECAY = 1 / 20, 0.9


def configure(
    records: str | Path,
    *,
    checkpoint: str | Path | None = None,
    model: str | None = None,
    batch_size: int = BATCH_SIZE,
    num_steps: int | None = None,
    learning_rate: float | None = None,
) -> pipeline_pb2.TrainEvalPipelineConfig:
    """Return a configuration that trains on the records of `convert`.

    The model's section is that of the checkpoint's own pipeline.config, else the stock recipe of `model`. The rest
    suits a few hundred photographs and an ordinary computer: stock recipes are for batches of 128 on eight devices,
    some in bfloat16, which most CPUs compute more slowly than float32.

    Args:
        records: the folder that `convert` wrote.
        checkpoint: what `weights.locate` finds: a folder laid out like a zoo download (`pipeline.config` beside
            `checkpoint/`), a checkpoint in it, an archive, a URL or a name of `boxtune models`; without it the training
            starts from random weights.
        model: whose stock recipe is taken where no checkpoint brings its configuration: one of `boxtune models`, or the
            beginning of its name, or a type of feature extractor; by default config.zoo.DEFAULT.
        batch_size: images in a step.
        num_steps: by default 600, or more where every image would not be seen 30 times.
        learning_rate: the highest, reached after a sixth of the steps; then it decays along a cosine. By default 0.01
            for each image of a batch, at most 0.08; from a checkpoint three quarters of that, of the same classes a
            quarter: docs/recipes.md has the measurements.

    Raises:
        BoxtuneError: if records, label map or checkpoint cannot be used.
    """
    if batch_size < 1 or (num_steps is not None and num_steps < 1):
        raise ConfigError(f"batch_size {batch_size} and num_steps {num_steps} must be at least 1")
    records = Path(records)
    label_map_path = records / LABEL_MAP_NAME
    label_map = read_label_map(label_map_path)
    checkpoint, path = _located(checkpoint, model)
    if path:
        pipeline = config.load(path)
        config.refuse(pipeline, path, (*config.MODEL, "train_config", "eval_config"))
        pipeline = config.complete(pipeline)
    else:
        pipeline = zoo.recipe_of(zoo.DEFAULT if model is None else model)
    if checkpoint:
        _require_checkpoint(checkpoint)
        _set_start(pipeline, checkpoint, path and _label_map_beside(path), label_map)
    family = config.family_of(pipeline.model)
    family.set_num_classes(pipeline.model, max(label.id for label in label_map.labels))

    train, validation = (str(records / f"{part}-?????-of-?????.tfrecord") for part in ("train", "validation"))
    if num_steps is None:
        files = sorted(records.glob("train-?????-of-?????.tfrecord"))
        if not files:
            raise ConfigError(
                f"{records} has no train-*.tfrecord: give the folder that `boxtune convert` wrote."
            )
        with RecordIndex(files) as index:
            num_steps = max(MIN_STEPS, round(MIN_EPOCHS * len(index) / batch_size))
    pipeline.train_config.batch_size = batch_size
    pipeline.train_config.num_steps = num_steps
    pipeline.train_config.ClearField("use_bfloat16")  # meant for TPUs: on CPUs it is slower
    if learning_rate is None:
        usual = min(RATE_PER_IMAGE * batch_size, MAX_LEARNING_RATE)
        learning_rate = usual * (_RATES[pipeline.train_config.fine_tune_checkpoint_type] if checkpoint else 1)
    _set_optimizer(pipeline.train_config.optimizer, learning_rate, num_steps)
    _let_batch_norm_settle(pipeline.model, num_steps)

    pipeline.ClearField("train_input_reader")
    pipeline.ClearField("eval_input_reader")
    pipeline.train_input_reader.label_map_path = str(label_map_path)
    pipeline.train_input_reader.tf_record_input_reader.input_path.append(train)
    reader = pipeline.eval_input_reader.add(label_map_path=str(label_map_path), shuffle=False, num_epochs=1)
    reader.tf_record_input_reader.input_path.append(validation)
    return pipeline


def _set_start(
    pipeline: pipeline_pb2.TrainEvalPipelineConfig,
    checkpoint: Path,
    label_map_path: Path | None,
    label_map: LabelMap,
) -> None:
    """Start from a checkpoint: from all of it where it has the same classes, else without the layers of unknown ones.

    Args:
        pipeline: to be changed.
        checkpoint: to start from.
        label_map_path: of the classes of the checkpoint, if they are known.
        label_map: of the classes to train.
    """
    train, own = pipeline.train_config, pipeline.boxtune
    before = read_label_map(label_map_path) if label_map_path else LabelMap(())
    known = known_classes(before, label_map)
    train.fine_tune_checkpoint, train.fine_tune_checkpoint_version = str(checkpoint), pipeline_pb2.V2
    train.fine_tune_checkpoint_type = "all_but_classes"
    own.ClearField("learning_rate_factor_of_new_layers")
    own.ClearField("fine_tune_label_map_path")
    if not known:
        own.learning_rate_factor_of_new_layers = NEW_LAYERS_FACTOR
    elif len(known) == len(before.labels) == len(label_map.labels) and all(a == b for a, b in known.items()):
        train.fine_tune_checkpoint_type = "full"
    else:
        own.fine_tune_label_map_path = str(label_map_path)


def _label_map_beside(config_path: Path) -> Path | None:
    """Return the label map that a training or an export left beside its configuration, if it did."""
    paths = (config_path.parent / name for name in (LABEL_MAP, LABEL_MAP_NAME))
    return next((path for path in paths if path.is_file()), None)


def find_start(checkpoint: str | Path | None, model: str | None = None) -> Path | None:
    """Return where the weights to start from are, downloaded if they have to be; None without a checkpoint.

    Raises:
        ConfigError: if there is no such model, or the checkpoint's configuration is missing, or another is given.
        CheckpointError: if there is no checkpoint, or it cannot be downloaded.
    """
    found, _ = _located(checkpoint, model)
    if found:
        _require_checkpoint(found)
    return found


def _located(checkpoint: str | Path | None, model: str | None) -> tuple[Path | None, Path | None]:
    """Return where a checkpoint and its configuration are, as far as there are any."""
    if model is not None or checkpoint is None:
        zoo.recipe_of(zoo.DEFAULT if model is None else model)
    if checkpoint is None:
        return None, None
    found = weights.locate(checkpoint)
    if found.is_dir():
        found = best_checkpoint(best_run(runs_of(found)))
    return found, _path_of_config(found, model)


def _require_checkpoint(found: Path) -> None:
    if found.is_dir() or found.suffix == ".pb":
        checkpoints.Reader(checkpoints.find(found))


def _path_of_config(checkpoint: Path, model: str | None) -> Path | None:
    """Return the configuration that a checkpoint brings; None if it brings none and a model is given instead."""
    path = config_near(checkpoint)
    if path and model is not None:
        raise ConfigError(
            f'checkpoint {checkpoint} and model "{model}": give one of them; the checkpoint has a model of its own, by '
            f"{path}."
        )
    if path is None and model is None:
        raise ConfigError(
            f"{checkpoint}: a folder is needed with {PIPELINE_CONFIG} beside checkpoint/, as in a zoo download; or "
            "give the model, too, whose checkpoint it is."
        )
    if path is None:
        checkpoints.find(checkpoint)
    return path


def _set_optimizer(section: pipeline_pb2.Optimizer, learning_rate: float, steps: int) -> None:
    """Set momentum with a cosine that ends with the training."""
    section.Clear()
    section.use_moving_average = False
    section.momentum_optimizer.momentum_optimizer_value = 0.9
    cosine = section.momentum_optimizer.learning_rate.cosine_decay_learning_rate
    cosine.learning_rate_base = learning_rate
    cosine.total_steps = steps
    cosine.warmup_learning_rate = round(learning_rate * WARMUP_FACTOR, 6)
    cosine.warmup_steps = round(steps * WARMUP_FRACTION)


def _let_batch_norm_settle(message: Message, steps: int) -> None:
    """Lower the decay of every batch normalization so that its averages span a twentieth of the training.

    Stock decays span hundreds of steps. After a short training the averages of new layers would still depend on their
    initial values, and the detector would see other activations than in training.
    """
    for field, value in message.ListFields():
        if isinstance(value, pipeline_pb2.BatchNorm):
            value.decay = round(min(value.decay, max(LEAST_DECAY, 1 - 1 / (SETTLING_FRACTION * steps))), 4)
        elif field.message_type is not None and not field.is_repeated:
            _let_batch_norm_settle(value, steps)
