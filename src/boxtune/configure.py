"""The verb `config`: a pipeline.config for converted records."""

from pathlib import Path

from google.protobuf.message import Message

from boxtune import config
from boxtune.config import pipeline_pb2, zoo
from boxtune.convert import LABEL_MAP_NAME
from boxtune.data.label_map import read_label_map
from boxtune.data.tfrecord import RecordIndex
from boxtune.errors import ConfigError
from boxtune.training import checkpoints
from boxtune.training.learning_rates import RATE_PER_IMAGE

PIPELINE_CONFIG = "pipeline.config"
BATCH_SIZE = 8
MAX_LEARNING_RATE = 0.08
WARM_START_RATE, NEW_LAYERS_FACTOR = 0.75, 4
"""From a checkpoint: the fraction of these rates, and how many times as fast the layers of the new classes learn."""
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
        checkpoint: a folder laid out like a zoo download, `pipeline.config` beside `checkpoint/`; without it the
            training starts from random weights.
        model: whose stock recipe is taken where there is no checkpoint: one of `boxtune models`, or the beginning of
            its name, or a type of feature extractor; by default config.zoo.DEFAULT.
        batch_size: images in a step.
        num_steps: by default 600, or more where every image would not be seen 30 times.
        learning_rate: the highest, reached after a sixth of the steps; then it decays along a cosine. By default 0.01
            for each image of a batch, at most 0.08; from a checkpoint three quarters of that: docs/recipes.md has the
            measurements.

    Raises:
        BoxtuneError: if records, label map or checkpoint cannot be used.
    """
    if batch_size < 1 or (num_steps is not None and num_steps < 1):
        raise ConfigError(f"batch_size {batch_size} and num_steps {num_steps} must be at least 1")
    records = Path(records)
    label_map_path = records / LABEL_MAP_NAME
    label_map = read_label_map(label_map_path)
    _refuse_two_starts(checkpoint, model)
    if checkpoint is None:
        pipeline = zoo.recipe_of(zoo.DEFAULT if model is None else model)
    else:
        path = _path_of_config(Path(checkpoint))
        given = config.load(path)
        config.refuse(given, path, (*config.MODEL, "train_config", "eval_config"))
        pipeline = config.complete(given)
        pipeline.train_config.fine_tune_checkpoint = str(checkpoint)
        pipeline.train_config.fine_tune_checkpoint_type = "all_but_classes"
        pipeline.boxtune.learning_rate_factor_of_new_layers = NEW_LAYERS_FACTOR
        pipeline.train_config.fine_tune_checkpoint_version = pipeline_pb2.V2
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
        learning_rate = usual if checkpoint is None else WARM_START_RATE * usual
    _set_optimizer(pipeline.train_config.optimizer, learning_rate, num_steps)
    _let_batch_norm_settle(pipeline.model, num_steps)

    pipeline.ClearField("train_input_reader")
    pipeline.ClearField("eval_input_reader")
    pipeline.train_input_reader.label_map_path = str(label_map_path)
    pipeline.train_input_reader.tf_record_input_reader.input_path.append(train)
    reader = pipeline.eval_input_reader.add(label_map_path=str(label_map_path), shuffle=False, num_epochs=1)
    reader.tf_record_input_reader.input_path.append(validation)
    return pipeline


def check_start(checkpoint: str | Path | None, model: str | None = None) -> None:
    """Raise an error if a training cannot start from a checkpoint or a model, before any data is read.

    Raises:
        ConfigError: if there is no such model, both are given, or the folder of the checkpoint has no configuration.
        CheckpointError: if that folder has no checkpoint.
    """
    _refuse_two_starts(checkpoint, model)
    if checkpoint is None:
        zoo.recipe_of(zoo.DEFAULT if model is None else model)
        return
    folder = Path(checkpoint)
    if folder.is_dir() or folder.suffix == ".pb":
        checkpoints.Reader(checkpoints.find(folder))
    _path_of_config(folder)


def _refuse_two_starts(checkpoint: str | Path | None, model: str | None) -> None:
    if checkpoint is not None and model is not None:
        raise ConfigError(
            f'checkpoint {checkpoint} and model "{model}": give one of them; the checkpoint has a model of its own.'
        )


def _path_of_config(checkpoint: Path) -> Path:
    path = checkpoint / PIPELINE_CONFIG
    if not checkpoint.is_dir() or not path.is_file():
        above = [folder for folder in list(checkpoint.parents)[:2] if (folder / PIPELINE_CONFIG).is_file()]
        hint = f' Did you mean "{above[0]}"?' if above and checkpoint.exists() else ""
        raise ConfigError(
            f"{checkpoint}: a folder is needed with {PIPELINE_CONFIG} beside checkpoint/, as in a zoo download.{hint}"
        )
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
