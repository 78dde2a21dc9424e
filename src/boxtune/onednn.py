"""TensorFlow's oneDNN kernels: on wherever boxtune loads TensorFlow, unless the user or the run has them off.

By itself TensorFlow has them on only on CPUs with AVX-512 or newer; on one with AVX2 alone training takes half as long
again without. They round otherwise, so a run that goes on keeps what it began with. TensorFlow reads the variable once,
when it is loaded: all of this has to come before. Elsewhere than on x86, TensorFlow decides.
"""

import json
import logging
import os
import platform
import sys
from pathlib import Path

VARIABLE = "TF_ENABLE_ONEDNN_OPTS"

RUN = "run.json"
"""In the model directory: what a run was made from."""

KEY = "oneDNN"
"""Of its entries: what the run computed with, as `STATES` name it."""

STATES = {True: "on", False: "off"}

_OFF = ("0", "false")

# What the environment had before boxtune was imported is the user's, who is not contradicted.
_is_given = VARIABLE in os.environ


def switch_on() -> None:
    """Have TensorFlow use oneDNN when it will be loaded; tell where it has been loaded without."""
    if "tensorflow" in sys.modules:
        if not is_on() and os.environ.get(VARIABLE, "").lower() not in _OFF and _on_x86():
            logging.getLogger("boxtune").warning(
                "TensorFlow was imported before boxtune and is slower on this CPU so: import boxtune first, or set "
                "%s=1 (0 to leave it so)",
                VARIABLE,
            )
    elif not _is_given and _on_x86():
        os.environ[VARIABLE] = "1"


def follow_run(path: Path) -> None:
    """Have TensorFlow, if it is not loaded yet, compute as the run of a `run.json` does, if there is one.

    What the user has set stays. A file that cannot be read is left to those who need it.
    """
    if _is_given or "tensorflow" in sys.modules:
        return
    try:
        state = json.loads(path.read_text(encoding="utf-8"))[-1].get(KEY)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return
    for is_on, name in STATES.items():
        if state == name:
            os.environ[VARIABLE] = str(int(is_on))


def leave_to_tensorflow() -> None:
    """Have TensorFlow, if it is not loaded yet, decide by itself, unless the user has.

    For detectors that take one image at a time: on CPUs with AVX2 alone, oneDNN is slower there.
    """
    if not _is_given and "tensorflow" not in sys.modules:
        os.environ.pop(VARIABLE, None)


def is_on() -> bool:
    """Return whether TensorFlow, which it loads, computes with oneDNN in this process."""
    from tensorflow.python.util import _pywrap_util_port

    return bool(_pywrap_util_port.IsMklEnabled())


def _on_x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64")
