"""What every detector is: a network, its losses, and the way from predictions to detections."""

from abc import abstractmethod
from typing import Any

import keras
from keras import ops

from boxtune.detection import shares
from boxtune.detection.nms import Detections
from boxtune.models.layers import checkpoint_variables

Predictions = dict[str, Any]
GroundTruth = dict[str, Any]


REGULARIZATION = "regularization_loss"
LEARNING_RATE, WEIGHTS = "learning_rate", "weights"
"""What `fit` reports of a batch beside its losses: the rate it was taken with; the sum of the weights after it."""


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


class Detector(keras.Model):
    """A network that finds boxes, trained by `fit` on batches of (images, ground truth).

    Images are float32 [b, h, w, 3] with pixel values in [0, 255], already resized. The ground truth of a batch is a
    dict of `boxes` float32 [b, n, 4], `classes` int32 [b, n] (0-based), `weights` float32 [b, n] and `valid` bool
    [b, n], false where a row is padding.

    One training step: Keras calls the network, then `compute_loss`, then the optimizer.
    """

    batch_shares: shares.Shares = shares.WHOLE
    """How the batches of training are shared out over devices."""

    loss_names: tuple[str, ...]
    """The terms that `loss_terms` returns."""

    fine_tune_prefixes: dict[str, str]
    """For each fine_tune_checkpoint_type, the checkpoint keys that it takes over begin so."""

    def __init__(
        self, network: keras.Model, num_classes: int, *, add_regularization_loss: bool = True, **kwargs
    ):
        super().__init__(**kwargs)
        self.network = network
        self.num_classes = num_classes
        self.input_size: tuple[int, int] = network.input_shape[1:3]
        self.add_regularization_loss = add_regularization_loss
        self.last_losses = {name: LastValue(name=name) for name in (*self.loss_names, REGULARIZATION)}
        self.built = True  # as the network is

    def call(self, images, training=None) -> Predictions:
        """Return the raw predictions for `images` [b, h, w, 3], float32 whatever the network computes in."""
        predictions = self.network(images, training=training)
        return keras.tree.map_structure(lambda part: ops.cast(part, "float32"), predictions)

    @abstractmethod
    def loss_terms(self, predictions: Predictions, groundtruth: GroundTruth) -> dict[str, Any]:
        """Return the scalar losses of a batch by name, without regularization.

        Where the batch is shared out (`boxtune.detection.shares`), return what this share adds to them.
        """

    @abstractmethod
    def detect(self, predictions: Predictions, window=None) -> Detections:
        """Return the detections in `predictions`; `window` [b, 4] is where in its input each picture lies."""

    @abstractmethod
    def raw_detections(self, predictions: Predictions) -> tuple[Any, Any]:
        """Return the boxes [b, a, 4] and scores [b, a, c + 1] of every anchor, background first."""

    def regularization_loss(self):
        """Return the sum of the weights' penalties, of frozen ones too."""
        penalties = [weight.regularizer(weight) for weight in self.network.weights if weight.regularizer]
        return _sum(penalties) if penalties else ops.zeros(())

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Return the total loss of a batch and note its terms, which `fit` reports by name.

        Where the batch is shared out, this is what its share adds to the loss; the terms noted are of the whole batch.
        """
        # PyTorch's operators want tensors of its own, on the device of the predictions.
        terms = self.loss_terms(y_pred, keras.tree.map_structure(ops.convert_to_tensor, y))
        if self.add_regularization_loss:
            terms[REGULARIZATION] = self.regularization_loss() / shares.count()
        for name, value in terms.items():
            self.last_losses[name].update_state(shares.total(value))
        return _sum(terms.values())

    def train_step(self, *arguments):
        """Train on a batch as Keras does; report, too, its learning rate, and whether the weights are still numbers.

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
        """Return every weight and statistic by its key in a checkpoint of the API: `model/.../kernel`."""
        return checkpoint_variables(self.network)

    def trained_variables(self) -> dict[str, keras.Variable]:
        """Return by their keys the weights that training changes by their gradients."""
        return {key: weight for key, weight in self.checkpoint_variables().items() if weight.trainable}

    def random_states(self) -> dict[str, keras.Variable]:
        """Return what dropout draws from, by keys of its own: a run that goes on needs it, the API has none."""
        weights = {id(weight) for weight in self.network.weights}
        states = [variable for variable in self.network.variables if id(variable) not in weights]
        return {f"random/{number}": state for number, state in enumerate(states)}


def _sum_of_all(weights):
    return _sum([ops.sum(ops.stop_gradient(weight)) for weight in weights])


def _sum(scalars):
    """Add in the order given: TensorFlow would add one by one in the order in which they are done."""
    return ops.sum(ops.stack(list(scalars)))
