"""The base class of all detectors: a network, its losses, and the conversion of predictions to detections."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os.path import commonpath
from typing import Any

import keras
from keras import ops

from boxtune.detection import shares
from boxtune.errors import ConfigError, did_you_mean
from boxtune.models.keys import variables_by_key
from boxtune.structures import Detections, Inputs

Predictions = Any
"""The outputs of a network: tensors [b, ...], or [1, ...] where they are the same for all images, in any structure."""

REGULARIZATION = "regularization_loss"
LEARNING_RATE, WEIGHTS = "learning_rate", "weights"
"""What `fit` reports of a batch besides its losses: its learning rate, and the sum of the weights after it."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of training that are not in the detector's own section of the configuration."""

    add_regularization_loss: bool = True
    """Whether the penalties of the weights are part of the total loss."""
    label_smoothing: float = 0.0
    """Of the class targets, in [0, 1)."""
    class_weights: Sequence[float] | None = None
    """The weight of each of the c classes in the classification loss; None for equal weights."""
    merge_multiple_label_boxes: bool = False
    """Whether objects of one box and several classes are merged into one object."""
    use_bfloat16: bool = False
    """Whether the network computes in bfloat16; its weights, and everything after it, are float32."""


class LastValue(keras.metrics.Metric):
    """The value of the last batch, where Keras' metrics are means since the start of the epoch."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.value = self.add_variable(shape=(), initializer="zeros", name="value")

    def update_state(self, value):
        """Set the value, a scalar."""
        self.value.assign(value)

    def result(self):
        """Return the value."""
        return ops.convert_to_tensor(self.value)


class Detector(keras.Model, ABC):
    """A network that finds objects, trained by `fit` on batches of Inputs with ground truth.

    One training step: Keras calls the network, then `compute_loss`, then the optimizer.
    """

    batch_shares: shares.Shares = shares.WHOLE
    """How the batches of training are shared out over devices."""

    loss_names: tuple[str, ...]
    """The names of the terms of `loss_terms`."""

    scores_before_classes: int = 0
    """How many scores of an anchor come before those of its classes, such as that of the background."""

    suppress: Any = None
    """The `detection.nms.NonMaxSuppression` that `detect` applies to `candidates` within `windows`; None if none."""

    normalization: Any = None
    """Of pixel values: what `backbones.common.prepared_images` leaves out; None of a network that takes them as they
    are."""

    padding: Any = None
    """The pixel value [3] that fills the padding of inputs; None for that of the resizer."""

    checkpoint_aliases: Mapping[str, str] = {}
    """The keys of layers by further keys that the API's checkpoints have for them."""

    finds: tuple[str, ...] = ()
    """What it detects besides boxes: "masks", "keypoints"."""

    def __init__(self, num_classes: int, *, add_regularization_loss: bool = True, **kwargs):
        """Prepare; call this before the networks are set as attributes."""
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.add_regularization_loss = add_regularization_loss
        self.last_losses = {name: LastValue(name=name) for name in (*self.loss_names, REGULARIZATION)}
        self.built = True  # as its networks are

    @abstractmethod
    def call(self, inputs: Inputs, training=None) -> Predictions:
        """Return the raw predictions, in float32."""

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

    def encoded_candidates(self, inputs: Inputs, predictions: Predictions) -> tuple[Any, Any] | None:
        """Return `candidates` with their boxes not yet decoded, as `box_coders.CenterCodes`; None if they never are.

        The scores [b, a, c] may have others before them.
        """
        return None

    @abstractmethod
    def restore_map(self, fine_tune_type: str) -> Mapping[str, Mapping[str, keras.Variable]]:
        """Return the variables that a fine-tune type loads from a checkpoint, by key prefix, then by the rest of it.

        They have to be exactly those that the checkpoint has under the prefix.

        Raises:
            ConfigError: for a type that the family does not have.
        """

    def class_layers(self) -> Mapping[str, keras.Variable]:
        """Return the variables of the layers whose size is the number of classes, by their keys.

        The last axis of those that have that size is, for each anchor, `scores_before_classes` other scores, then one
        for each class.
        """
        return {}

    def keys_in_tensorflow_1(self, names: Iterable[str]) -> dict[str, str | None]:
        """Return the key of each variable of a checkpoint of TensorFlow 1, None for those that are of no use here.

        Variables that are not of this family are left out.

        Raises:
            CheckpointError: if TensorFlow 1 computed the network otherwise.
        """
        return {}

    def raw_outputs(self, inputs: Inputs, predictions: Predictions, found: Detections) -> dict[str, Any]:
        """Return the outputs of an exported model besides its detections, by the API's names."""
        return {}

    def regularization_loss(self):
        """Return the sum of the penalties of all weights, frozen ones included."""
        penalties = self.penalties()
        return _sum(penalties) if penalties else ops.zeros(())

    def penalties(self) -> list[Any]:
        """Return the penalty of each weight that has one, a scalar."""
        return [weight.regularizer(weight) for weight in self.weights if weight.regularizer]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Return the total loss of a batch and store its terms, which `fit` reports by name.

        Where the batch is shared out, this is what its share adds to the loss; the stored terms are of the whole batch.
        """
        # PyTorch's operators need tensors of its own, on the device of the predictions.
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
        """Train on a batch as Keras does; also report its learning rate, and whether the weights are still finite.

        Within the compiled step that takes no measurable time; reading them from outside would.
        """
        if keras.backend.backend() == "jax":
            return self._stateless_train_step(*arguments)
        rate = ops.convert_to_tensor(self.optimizer.learning_rate)  # before its count of steps moves on
        with shares.shared_out(self.batch_shares):
            logs = super().train_step(*arguments)
        return logs | {LEARNING_RATE: rate, WEIGHTS: _sum_of_all(self.trainable_weights)}

    def _stateless_train_step(self, state, data):
        """Do so for JAX, where the values of all variables are an argument and a result."""
        with keras.StatelessScope(state_mapping=list(zip(self.optimizer.variables, state[2], strict=True))):
            rate = ops.convert_to_tensor(self.optimizer.learning_rate)
        logs, state = super().train_step(state, data)
        return logs | {LEARNING_RATE: rate, WEIGHTS: _sum_of_all(state[0])}, state

    def checkpoint_variables(self) -> dict[str, keras.Variable]:
        """Return every weight and statistic by its key in a checkpoint of the API: `model/.../kernel`.

        Raises:
            ValueError: if two have the same key.
        """
        # Searched anew only if there are other weights. Keras must not track the result as if it were a part.
        weights = [id(weight) for weight in self.weights]
        known, variables = self.__dict__.get("_keyed", (None, {}))
        if known != weights:
            variables = variables_by_key(self)
            self.__dict__["_keyed"] = weights, variables
        return dict(variables)

    def under(self, prefix: str) -> dict[str, keras.Variable]:
        """Return those `checkpoint_variables` whose keys start with `prefix`, by the rest of their keys."""
        variables = self.checkpoint_variables()
        return {key.removeprefix(prefix): value for key, value in variables.items() if key.startswith(prefix)}

    def parts(self, by_type: Mapping[str, Sequence[str]], fine_tune_type: str) -> dict[str, dict[str, Any]]:
        """Return a `restore_map` in which each fine-tune type has the keys under some prefixes.

        Raises:
            ConfigError: for an unknown type.
        """
        if fine_tune_type not in by_type:
            raise ConfigError(
                f'fine_tune_checkpoint_type "{fine_tune_type}" is not one of {", ".join(by_type)}.'
                f"{did_you_mean(fine_tune_type, by_type)}"
            )
        return {prefix: self.under(prefix) for prefix in by_type[fine_tune_type]}

    def prefixes_without(self, left_out: str) -> list[str]:
        """Return the shortest prefixes that together are of all keys but those that start with `left_out`."""
        prefixes = set()
        for key in self.checkpoint_variables():
            if not key.startswith(left_out):
                common = commonpath([key, left_out])
                name, *below = key.removeprefix(f"{common}/").split("/", 1)
                prefixes.add(f"{common}/{name}/" if below else key)
        return sorted(prefixes)

    def trained_variables(self) -> dict[str, keras.Variable]:
        """Return the weights that training updates by their gradients, by their keys, in Keras' order."""
        keys = {id(variable): key for key, variable in self.checkpoint_variables().items()}
        return {keys[id(weight)]: weight for weight in self.trainable_variables}

    def random_states(self) -> dict[str, keras.Variable]:
        """Return the random states of dropout by keys of their own, for resumed runs; the API does not store them."""
        weights = {id(weight) for weight in self.weights}
        states = [variable for variable in self.variables if id(variable) not in weights]
        return {f"random/{number}": state for number, state in enumerate(states)}


def windows(inputs: Inputs):
    """Return the part of each input that is image rather than padding, float32 [b, 4], as a box in its frame."""
    extents = ops.cast(inputs["sizes"], "float32") / ops.cast(ops.shape(inputs["images"])[1:3], "float32")
    return ops.concatenate([ops.zeros_like(extents), extents], axis=-1)


def _sum_of_all(weights):
    return _sum([ops.sum(ops.stop_gradient(weight)) for weight in weights])


def _sum(scalars):
    """Add in the given order: TensorFlow would add the scalars one by one as they are computed."""
    return ops.sum(ops.stack(list(scalars)))
