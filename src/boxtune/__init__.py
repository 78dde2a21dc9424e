"""boxtune: retrain object detectors on your own photographs.

The verbs are functions of this package: `boxtune.evaluate(...)`. Each is imported when it is first asked for, so that
`import boxtune` takes no time.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

from boxtune import onednn

__version__ = "0.1.0"

VERBS = (
    "benchmark",
    "check",
    "configure",
    "convert",
    "cross_validate",
    "doctor",
    "draw",
    "evaluate",
    "export",
    "label",
    "list_models",
    "load",
    "lr_range",
    "predict",
    "retrain",
    "runs",
    "serve",
    "train",
)
"""Each is a function in the module of its name.

They are those of the command line, `config` as `configure`, `models` as `list_models` and `lr-range` as `lr_range`;
`load`, which is for Python alone; and `cross_validate`, which is `retrain --folds`.
"""


class _Package(ModuleType):
    """This package, where the name of a verb means its function and never its module.

    Importing `boxtune.evaluate` makes Python set that module as an attribute of this one: its function is set instead.
    The module is what `from boxtune.evaluate import ...` and `importlib.import_module` go by, as for any other.
    """

    def __getattr__(self, name: str) -> Any:
        if name not in VERBS:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        from boxtune.silence_stderr import silenced_stderr

        with silenced_stderr():  # most load TensorFlow, which tells of devices that are not there
            return getattr(importlib.import_module(f"{self.__name__}.{name}"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        is_module = name in VERBS and isinstance(value, ModuleType)
        super().__setattr__(name, getattr(value, name) if is_module else value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *VERBS})


sys.modules[__name__].__class__ = _Package
onednn.switch_on()
