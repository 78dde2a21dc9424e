"""What every detector is: a network, its losses, and the way from predictions to detections."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from boxtune.detection import shares
from boxtune.errors import ConfigError, did_you_mean
from boxtune.models.keys import variables_by_key
from boxtune.structures import Detections, Inputs

Predictions = Any
"""What a network returns: tensors [b, ...], or [1, ...] where all images have the same, in any structure."""

REGULARIZATION = "regularization_loss"
LEARNING_RATE, WEIGHTS = "learning_rate", "weights"
"""What `fit` reports of a batch beside its losses: the rate it was taken with; the sum of the weights after it."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a detector is to be trained, where its own section of the configuration does not say."""

    add_regularization_loss: bool = True
    """Whether the weights' penalties are part of the total loss."""
    label_smoothing: float = 0.0
    """How much certainty the targets of classes lose, in [0, 1)."""
    class_weights: Sequence[float] | None = None
    """What objects of each of the c classes weigh in the classification loss; None for all alike."""
    merge_multiple_label_boxes: bool = False
    """Whether objects of one box and several classes are one object with all of them."""
    use_bfloat16: bool = False
    """Whether the network computes in bfloat16; its weights and all that follows it are float32."""


class LastValue(keras.metrics.Metric):
    """Shows the value of the last batch, where Keras' metrics show means since the epoch began."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.value = self.add_variable(shape=(), initializer="zeros", name="value")

    def update_state(self, value):
        """Take over a scalar."""
        self.value.assign(value)

    def result(self):
        """Return it."""
        return ops.convert_to_tensor(self.value)


class Detector(keras.Model, ABC):
    """A network that finds objects, trained by `fit` on batches of Inputs with ground truth.

    One training step: Keras calls the network, then `compute_loss`, then the optimizer.
    """

    batch_shares: shares.Shares = shares.WHOLE
    """How the batches of training are shared out over devices."""

    loss_names: tuple[str, ...]
    """The terms that `loss_terms` returns."""

    finds: tuple[str, ...] = ()
    """What it finds besides boxes: "masks", "keypoints"."""

    def __init__(self, num_classes: int, *, add_regularization_loss: bool = True, **kwargs):
        """Prepare; to be called before the networks are set as attributes."""
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.add_regularization_loss = add_regularization_loss
        self.last_losses = {name: LastValue(name=name) for name in (*self.loss_names, REGULARIZATION)}
        self.built = True  # as its networks are

    @abstractmethod
    def call(self, inputs: Inputs, training=None) -> Predictions:
        """Return the raw predictions, float32 whatever the network computes in."""

    @abstractmethod
    def loss_terms(self, inputs: Inputs, predictions: Predictions) -> dict[str, Any]:
        """Return the scalar losses of a batch by name, without regularization.

        Where the batch is shared out (`boxtune.detection.shares`), return what this share adds to them.
        """

    @abstractmethod
    def detect(self, inputs: Inputs, predictions: Predictions) -> Detections:
        """Return the detections, in the image's frame."""

    @abstractmethod
    def candidates(self, inputs: Inputs, predictions: Predictions) -> tuple[Any, Any]:
        """Return boxes [b, a, 4] in the input's frame and scores [b, a, c], before suppression."""

    @abstractmethod
    def restore_map(self, fine_tune_type: str) -> Mapping[str, Mapping[str, keras.Variable]]:
        """Return what a fine-tune type takes over of a checkpoint: by prefix of its keys, the variables by the rest.

        All that a checkpoint has under a prefix must be there, and nothing else.

        Raises:
            ConfigError: for a type that the family does not have.
        """

    def raw_outputs(self, inputs: Inputs, predictions: Predictions, found: Detections) -> dict[str, Any]:
        """Return what an exported model tells beside its detections, by the API's names."""
        return {}

    def regularization_loss(self):
        """Return the sum of the weights' penalties, of frozen ones too."""
        penalties = [weight.regularizer(weight) for weight in self.weights if weight.regularizer]
        return _sum(penalties) if penalties else ops.zeros(())

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Return the total loss of a batch and note its terms, which `fit` reports by name.

        Where the batch is shared out, this is what its share adds to the loss; the terms noted are of the whole batch.
        """
        # PyTorch's operators want tensors of its own, on the device of the predictions.
        terms = self.loss_terms(keras.tree.map_structure(ops.convert_to_tensor, x), y_pred)
        if self.add_regularization_loss:
            terms[REGULARIZATION] = self.regularization_loss() / shares.count()
        for name, value in terms.items():
            self.last_losses[name].update_state(shares.total(value))
        return _sum(terms.values())

    def compile(self, optimizer, **options):
        """Do it as Keras does, and make the optimizer's variables: within the first step that takes far longer."""
        super().compile(optimizer, **options)
        self.optimizer.build(self.trainable_variables)

    def train_step(self, *arguments):
        """Train on a batch as Keras does; report, too, its learning rate, and whether the weights are still finite.

        Within the compiled step that costs nothing that can be measured; read from outside, it would.
        """
        if keras.backend.backend() == "jax":
            return self._stateless_train_step(*arguments)
        rate = ops.convert_to_tensor(self.optimizer.learning_rate)  # before its count of steps moves on
        with shares.shared_out(self.batch_shares):
            logs = super().train_step(*arguments)
        return logs | {LEARNING_RATE: rate, WEIGHTS: _sum_of_all(self.trainable_weights)}

    def _stateless_train_step(self, state, data):
        """Do it as Keras wants it for JAX: the values of all variables are an argument, and a result."""
        with keras.StatelessScope(state_mapping=list(zip(self.optimizer.variables, state[2], strict=True))):
            rate = ops.convert_to_tensor(self.optimizer.learning_rate)
        logs, state = super().train_step(state, data)
        return logs | {LEARNING_RATE: rate, WEIGHTS: _sum_of_all(state[0])}, state

    def checkpoint_variables(self) -> dict[str, keras.Variable]:
        """Return every weight and statistic by its key in a checkpoint of the API: `model/.../kernel`.

        Raises:
            ValueError: if two have one key.
        """
        return variables_by_key(self)

    def under(self, prefix: str) -> dict[str, keras.Variable]:
        """Return those of `checkpoint_variables` whose keys begin with `prefix`, by the rest of them."""
        variables = self.checkpoint_variables()
        return {key.removeprefix(prefix): value for key, value in variables.items() if key.startswith(prefix)}

    def parts(self, by_type: Mapping[str, Sequence[str]], fine_tune_type: str) -> dict[str, dict[str, Any]]:
        """Return the `restore_map` that has, for each fine-tune type, the keys under some prefixes.

        Raises:
            ConfigError: for a type that is not there.
        """
        if fine_tune_type not in by_type:
            raise ConfigError(
                f'fine_tune_checkpoint_type "{fine_tune_type}" is not one of {", ".join(by_type)}.'
                f"{did_you_mean(fine_tune_type, by_type)}"
            )
        return {prefix: self.under(prefix) for prefix in by_type[fine_tune_type]}

    def trained_variables(self) -> dict[str, keras.Variable]:
        """Return by their keys the weights that training changes by their gradients, in Keras' order."""
        keys = {id(variable): key for key, variable in self.checkpoint_variables().items()}
        return {keys[id(weight)]: weight for weight in self.trainable_variables}

    def random_states(self) -> dict[str, keras.Variable]:
        """Return what dropout draws from, by keys of its own: a run that goes on needs it, the API has none."""
        weights = {id(weight) for weight in self.weights}
        states = [variable for variable in self.variables if id(variable) not in weights]
        return {f"random/{number}": state for number, state in enumerate(states)}


def _sum_of_all(weights):
    return _sum([ops.sum(ops.stop_gradient(weight)) for weight in weights])


def _sum(scalars):
    """Add in the order given: TensorFlow would add one by one in the order in which they are done."""
    return ops.sum(ops.stack(list(scalars)))
