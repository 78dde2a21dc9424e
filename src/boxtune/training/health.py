"""A run whose numbers are no numbers any more is ended, with what broke first."""

import math
from collections.abc import Callable

from boxtune.config import pipeline_pb2
from boxtune.errors import BoxtuneError
from boxtune.training import checkpoints
from boxtune.training.learning_rates import how_to_calm
from boxtune.training.run_state import RunState, not_finite
from boxtune.training.steps import Step


class StopOnNonFinite:
    """Ends a run at the first step of which a loss, or a weight after it, is infinite or not a number.

    As the weights are looked at after every step, what is found is what broke first: a loss that is no number comes
    of finite weights, weights that are none come of a finite loss and its gradients.
    """

    def __init__(self, state: RunState, images_of: Callable[[int], str], settings: pipeline_pb2.TrainConfig):
        """Watch the trainable weights of a run; `images_of` a step and `settings` are for the message."""
        self.model_dir, self.images_of, self.settings = state.model_dir, images_of, settings
        self.weights = {key: value for key, value in state.model_variables.items() if value.trainable}

    def __call__(self, step: Step) -> None:
        """Look at the losses, then at the weights; raise BoxtuneError for those that are no numbers."""
        if not math.isfinite(step.total_loss):
            raise self._error(step, _broken_loss(step))
        # A sum that overflows is of weights that are beyond hope, too.
        if not math.isfinite(step.weights):
            raise self._error(step, self._broken_weights(step))

    def _broken_weights(self, step: Step) -> str:
        broken = not_finite(self.weights)
        which = (
            f"{len(broken)} of {len(self.weights)} variables (such as {broken[0]})"
            if broken
            else "the weights"
        )
        return f"the loss was a number ({step.total_loss:.3g}), but its gradients made {which} infinite or not a number"

    def _error(self, step: Step, what: str) -> BoxtuneError:
        kept = checkpoints.latest(self.model_dir)
        return BoxtuneError(
            f"Step {step.number}: {what}. The images of this step: {self.images_of(step.number)}. "
            f"{f'The last checkpoint is kept: {kept}' if kept else 'There was no checkpoint yet'}. "
            f"{how_to_calm(self.settings)}"
        )


def _broken_loss(step: Step) -> str:
    broken = [name for name, value in step.losses.items() if not math.isfinite(value)]
    fine = [f"{name} {value:.3g}" for name, value in step.losses.items() if name not in broken]
    others = f", while {', '.join(fine)}" if fine else ""
    return f"{', '.join(broken)} became infinite or not a number{others}; the weights before this step were numbers"
