"""Which checkpoints of a folder are kept, and how they are written and removed so that a kill never costs one.

A checkpoint exists when its index does. So the index of a new one is written last, after its data and under its final
name by a rename; when one is removed, its index goes first. The file `checkpoint`, by which TensorFlow and the API
find the newest, names a checkpoint only once it exists.
"""

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from boxtune.data.files import whole_file
from boxtune.errors import CheckpointError
from boxtune.training import checkpoints

_PARTIAL = ".partial-checkpoint"
_NAME = re.compile(r"ckpt-\d+")


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions:
    """Which checkpoints of a run are written, and which are kept; one is always written at the end."""

    every_n: int = 1000
    """Steps from one to the next."""
    max_to_keep: int = 7
    """Older ones are removed."""
    keep_every_n: int = 0
    """Steps between those that are never removed; 0 for none."""
    overwrite: bool = False
    """Whether a run that the model directory holds is removed, and one begun anew."""


class CheckpointManager:
    """The checkpoints `ckpt-N` that a run leaves in a folder: the newest ones, and some for good."""

    def __init__(
        self,
        variables: checkpoints.Variables,
        folder: Path,
        *,
        max_to_keep: int,
        keep_every_n: int = 0,
        aliases: Mapping[str, str] | None = None,
    ):
        """Prepare to write `variables` by their keys into `folder`, which is made when the first checkpoint is.

        Of the checkpoints that a run writes or finds there, the newest `max_to_keep` are kept, and those whose step is
        a multiple of `keep_every_n`. `aliases` are further keys of layers, as in `checkpoints.tree`.
        """
        self.variables, self.folder, self.aliases = variables, folder, aliases
        self.max_to_keep, self.keep_every_n = max_to_keep, keep_every_n

    def save(self) -> str:
        """Write the next checkpoint, whole or not at all, remove the old ones, and return its prefix.

        Raises:
            CheckpointError: if the file system has no room or refuses; earlier checkpoints are kept.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.tidy()
        newest = checkpoints.latest(self.folder)
        number = checkpoints.number_of(newest) + 1 if newest else 1
        name = f"ckpt-{number}"
        names = [*(one for one in self._managed() if one != name), name]
        root = checkpoints.tree(self.variables, self.aliases)
        root.save_counter.assign(number)
        self._write(root, name)
        self._write_state(names)
        old, kept = names[: -self.max_to_keep], names[-self.max_to_keep :]
        for one in old:
            self._remove(one)
        if old:
            self._write_state(kept)
        return str(self.folder / name)

    def tidy(self) -> None:
        """Remove the remains of a run that was killed while it wrote or removed a checkpoint."""
        shutil.rmtree(self.folder / _PARTIAL, ignore_errors=True)
        for data in sorted(self.folder.glob("ckpt-*.data-*-of-*")):
            if not data.with_name(f"{data.name.rpartition('.data-')[0]}.index").exists():
                data.unlink(missing_ok=True)

    def _write(self, root: tf.train.Checkpoint, name: str) -> None:
        partial = self.folder / _PARTIAL
        try:
            root.write(str(partial / name))
            # There may be one of this name that was written but never recorded.
            (self.folder / f"{name}.index").unlink(missing_ok=True)
            for data in sorted(partial.glob(f"{name}.data-*")):
                os.replace(data, self.folder / data.name)
            os.replace(partial / f"{name}.index", self.folder / f"{name}.index")
        except (OSError, tf.errors.OpError) as error:
            reason = str(error.strerror if isinstance(error, OSError) else error.message).strip().rstrip(".")
            raise CheckpointError(
                f"{self.folder / name} cannot be written: {reason}. The checkpoints before it are kept"
            ) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _managed(self) -> list[str]:
        """Return the names of the checkpoints that exist and are recorded, or of the newest if there is no record."""
        paths = checkpoints.recorded(self.folder, "all_model_checkpoint_paths")
        paths = paths or [checkpoints.latest(self.folder) or ""]
        names = [Path(path).name for path in paths]
        return [name for name in names if _NAME.fullmatch(name) and (self.folder / f"{name}.index").is_file()]

    def _remove(self, name: str) -> None:
        """Remove a checkpoint, unless it is kept for good."""
        if self.keep_every_n and checkpoints.step_of(str(self.folder / name)) % self.keep_every_n == 0:
            return
        (self.folder / f"{name}.index").unlink(missing_ok=True)
        for data in sorted(self.folder.glob(f"{name}.data-*")):
            data.unlink(missing_ok=True)

    def _write_state(self, names: list[str]) -> None:
        """Record these checkpoints as existing: TensorFlow's CheckpointState in text form."""
        lines = [f'model_checkpoint_path: "{names[-1]}"']
        lines += [f'all_model_checkpoint_paths: "{name}"' for name in names]
        with whole_file(self.folder / checkpoints.STATE) as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
