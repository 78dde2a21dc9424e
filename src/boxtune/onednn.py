"""TensorFlow's oneDNN kernels: on wherever boxtune loads TensorFlow, unless the user or the run has them off.

By itself TensorFlow uses them only on CPUs with AVX-512 or newer; on a CPU with AVX2 only, training takes 1.5 times as
long without them. They round differently, so a resumed run keeps the setting with which it was started. TensorFlow
reads the variable once, when it is loaded: all of this has to happen before. On other CPUs than x86, TensorFlow
decides.
"""

import json
import logging
import os
import platform
import sys
from pathlib import Path

VARIABLE = "TF_ENABLE_ONEDNN_OPTS"

RUN = "run.json"
"""In the model directory: how a run was made."""

KEY = "oneDNN"
"""In its entries: whether the run used oneDNN, as in `STATES`."""

STATES = {True: "on", False: "off"}

_OFF = ("0", "false")

# If the variable was set before boxtune was imported, the user has set it, and it is not changed.
_is_given = VARIABLE in os.environ


def switch_on() -> None:
    """Have TensorFlow use oneDNN when it is loaded; warn if it has been loaded without."""
    if "tensorflow" in sys.modules:
        if not is_on() and os.environ.get(VARIABLE, "").lower() not in _OFF and _on_x86():
            logging.getLogger("boxtune").warning(
                "TensorFlow was imported before boxtune and is slower on this CPU: import boxtune first, or set "
                "%s=1 (0 to leave it so)",
                VARIABLE,
            )
    elif not _is_given and _on_x86():
        os.environ[VARIABLE] = "1"


def follow_run(path: Path) -> None:
    """Have TensorFlow, if it is not loaded yet, compute as in the run of a `run.json`, if there is one.

    The user's own setting has priority. A file that cannot be read is ignored here.
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
    """Let TensorFlow decide, if it is not loaded yet, unless the user has decided.

    For detectors that take one image at a time, which oneDNN slows down on CPUs with AVX2 only.
    """
    if not _is_given and "tensorflow" not in sys.modules:
        os.environ.pop(VARIABLE, None)


def environment() -> dict[str, str]:
    """Return the environment for another program: this one's, with the variable only if the user has set it."""
    return {name: value for name, value in os.environ.items() if name != VARIABLE or _is_given}


def is_on() -> bool:
    """Return whether TensorFlow uses oneDNN in this process; this loads TensorFlow."""
    from tensorflow.python.util import _pywrap_util_port

    return bool(_pywrap_util_port.IsMklEnabled())


def _on_x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64")
