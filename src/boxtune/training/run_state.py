"""Everything that a run needs to go on where it stopped, and the checkpoints that hold it."""

import logging
from pathlib import Path

import tensorflow as tf

from boxtune.errors import CheckpointError
from boxtune.models import Detector
from boxtune.training import checkpoints

_log = logging.getLogger("boxtune")


class RunState:
    """The weights, the optimizer and the step of a run, kept as `ckpt-N` in its model directory.

    The model part has the API's keys, so the API restores it; `step` and `save_counter` are the API's too.
    """

    def __init__(self, model_dir: Path, detector: Detector, max_to_keep: int):
        """Prepare for a compiled `detector`; of its checkpoints the newest `max_to_keep` are kept."""
        optimizer = detector.optimizer
        optimizer.build(detector.trainable_variables)
        self.model_dir = model_dir
        self.model_variables = detector.checkpoint_variables()
        self.optimizer_variables = {
            f"optimizer/{variable.path.partition('/')[2].replace('.', '/')}": variable
            for variable in optimizer.variables
            if variable is not optimizer.iterations
        }
        self.iterations = optimizer.iterations
        self._root = checkpoints.tree(
            self.model_variables | self.optimizer_variables | {"step": optimizer.iterations}
        )
        self._manager = tf.train.CheckpointManager(self._root, str(model_dir), max_to_keep)

    @property
    def step(self) -> int:
        """How many steps the run has made."""
        return int(self.iterations.numpy())

    def save(self) -> str:
        """Write the next checkpoint, whole or not at all, and return its prefix."""
        return self._manager.save(check_interval=False)

    def resume(self) -> str | None:
        """Go on from the newest checkpoint in the model directory; return its prefix, or None if there is none.

        A checkpoint of the API holds its optimizer under other names: then weights and step are taken over, the
        optimizer starts anew, and a warning says so.

        Raises:
            CheckpointError: if that checkpoint is of another model.
        """
        prefix = checkpoints.latest(self.model_dir)
        if prefix is None:
            return None
        reader = checkpoints.Reader(prefix)
        difference = checkpoints.misfit(self.model_variables, reader, "model/")
        if difference:
            raise CheckpointError(
                f"{self.model_dir} holds another model: {prefix} does not fit this configuration: {difference}. "
                "Give a new --model_dir, or the pipeline.config that this one was trained with"
            )
        wanted = self.model_variables | {"step": self.iterations}
        if all(key in reader for key in self.optimizer_variables):
            wanted |= self.optimizer_variables
        else:
            _log.warning("%s holds no state of this optimizer: its averages start anew.", prefix)
        checkpoints.load(wanted, prefix)
        self._root.save_counter.assign(checkpoints.number_of(prefix))
        return prefix
