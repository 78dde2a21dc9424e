"""When a training is saved and evaluated, and when it ends early."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Checkpointing:
    """Which checkpoints of a run are written, and which stay; one is always written at the end."""

    every_n: int = 1000
    """Steps from one to the next."""
    max_to_keep: int = 7
    """Older ones are removed."""
    keep_every_n: int = 0
    """Steps between those that are never removed; 0 for none."""


@dataclass(frozen=True, kw_only=True)
class Evaluating:
    """When a run is evaluated, what is best, and what ends it early; it is always evaluated at the end."""

    every_n: int | None = None
    """Steps from one evaluation to the next; 0 for none on the way, None for the verb's own default."""
    metric: str = "mAP"
    """That the best checkpoint is chosen by: a metric of the API, or a short name (SHORT_NAMES)."""
    patience: int | None = None
    """How many evaluations without progress end the run; None for no such end."""
    min_delta: float = 0.0
    """How much better than the best before it an evaluation has to be to count as progress."""
