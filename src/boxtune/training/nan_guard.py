"""Ends a run at the first step whose losses or weights are not finite."""

import math
from collections.abc import Callable

from boxtune.config import pipeline_pb2
from boxtune.errors import BoxtuneError
from boxtune.training import checkpoints
from boxtune.training.callbacks import Step
from boxtune.training.learning_rates import how_to_stabilize
from boxtune.training.run_state import RunState, not_finite


class NanGuard:
    """Raises an error at the first step with an infinite or NaN loss, or with such weights after it.

    The weights are checked after every step, so the error names what broke first: a NaN loss was computed from finite
    weights, and NaN weights come from a finite loss and its gradients.
    """

    def __init__(self, state: RunState, images_of: Callable[[int], str], settings: pipeline_pb2.TrainConfig):
        """Watch the trainable weights of a run; `images_of` a step and `settings` are for the message."""
        self.model_dir, self.images_of, self.settings = state.model_dir, images_of, settings
        self.weights = {key: value for key, value in state.model_variables.items() if value.trainable}

    def __call__(self, step: Step) -> None:
        """Check the losses, then the weights; raise BoxtuneError if they are not finite."""
        # A sum that overflows means weights that are beyond hope, too.
        if math.isfinite(step.total_loss) and math.isfinite(step.weights):
            return
        saved = checkpoints.latest(self.model_dir)
        cause = self._broken_loss(step) if not math.isfinite(step.total_loss) else self._broken_weights(step)
        raise BoxtuneError(
            f"Step {step.number}: {cause}. The images of this step: {self.images_of(step.number)}. "
            f"{f'The last checkpoint is kept: {saved}' if saved else 'There was no checkpoint yet'}. "
            f"{how_to_stabilize(self.settings)}"
        )

    def _broken_loss(self, step: Step) -> str:
        broken = [name for name, value in step.losses.items() if not math.isfinite(value)]
        finite = [f"{name} {value:.3g}" for name, value in step.losses.items() if name not in broken]
        others = f", while {', '.join(finite)}" if finite else ""
        return f"{', '.join(broken)} became infinite or NaN{others}; the weights before this step were finite"

    def _broken_weights(self, step: Step) -> str:
        broken = not_finite(self.weights)
        some = f"{len(broken)} of {len(self.weights)} variables (such as {broken[0]})" if broken else ""
        return (
            f"the loss was finite ({step.total_loss:.3g}), but its gradients made {some or 'the weights'} infinite or "
            "NaN"
        )
