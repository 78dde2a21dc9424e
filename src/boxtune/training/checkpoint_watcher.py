"""Yields the checkpoints of a training one after the other, also while the training is still running."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

from boxtune.errors import CheckpointError
from boxtune.training import checkpoints, provenance

_POLL_SECONDS = 2.0

_log = logging.getLogger("boxtune")


def watch_checkpoints(
    folder: Path, *, wait: bool = False, last_step: int, timeout: float = 3600.0
) -> Iterator[str]:
    """Yield every checkpoint of a training, each once, the oldest first.

    Args:
        folder: its model directory.
        wait: wait for later ones, until the training has ended: its `run.json` says so; a training by another
            program, which has none, has ended when the newest was written after `last_step` steps.
        last_step: of the training.
        timeout: how many seconds without a new one end the waiting.

    Raises:
        CheckpointError: if there is none at all.
    """
    newest = 0
    ended = not wait
    run = folder / provenance.RUN
    last_seen = time.monotonic()
    while True:
        # Asked before listing the folder: what was written until then is still seen.
        ended = ended or provenance.has_ended(run)
        # Listed anew each time: others may have been removed meanwhile.
        later = (one for one in checkpoints.all_in(folder) if checkpoints.number_of(one) > newest)
        prefix = next(later, None)
        if prefix is not None:
            number = checkpoints.number_of(prefix)
            if wait and 0 < newest < number - 1:
                _log.warning(
                    "ckpt-%d to ckpt-%d were removed before they could be evaluated; train with a higher "
                    "--checkpoint_max_to_keep.", newest + 1, number - 1,
                )  # fmt: skip
            ended = ended or (not run.exists() and checkpoints.step_of(prefix) >= last_step)
            yield prefix
            newest, last_seen = number, time.monotonic()
        elif ended:
            break
        elif time.monotonic() - last_seen > timeout:
            print(f"No new checkpoint in {folder} for {timeout:g} seconds: the evaluation ends.", flush=True)
            break
        else:
            time.sleep(_POLL_SECONDS)
    if not newest:
        raise CheckpointError(f"{folder}: no checkpoint ckpt-N here")
