"""The verb `serve`: a page on which to try a model, and the same for programs, as JSON."""

import re
import secrets
from contextlib import closing
from pathlib import Path
from types import ModuleType

from boxtune.errors import ConfigError
from boxtune.load import load
from boxtune.serving.limits import Limits
from boxtune.silence_stderr import silenced_stderr

TOKEN = "BOXTUNE_TOKEN"
"""The environment variable of the token, which the list of processes does not show."""

_TOKEN_BYTES = 18
_DEFAULT_LIMITS = Limits()


def serve(
    model: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    limits: Limits = _DEFAULT_LIMITS,
) -> None:
    """Serve a model over HTTP until this is interrupted; print the address once it answers.

    At `/` is a page to try it, at `/detect` images are taken and answered with detections as JSON, at `/model` is what
    the model is, at `/health` whether it answers, at `/metrics` what it has done, for Prometheus. An interruption lets
    it answer what is under way.

    Args:
        model: as `load` takes it.
        host: the address to listen on; by default only this machine is answered.
        port: 0 for any that is free.
        token: that every request has to bring. On other addresses than loopback there is one in any case: without a
            `token` one is drawn, and printed as part of the address.
        limits: what is taken at most.

    Raises:
        BoxtuneError: if the extra is not installed, the address is taken, or the model cannot be used.
        KeyboardInterrupt: when it was interrupted, and what was under way is answered.
    """
    server = _server()
    _check(token)
    drawn = None if token or server.is_loopback(host) else secrets.token_urlsafe(_TOKEN_BYTES)
    server.keep_memory_small()
    with closing(server.bound(host, port)) as listener:
        server.run(load(model), listener, limits, host=host, token=token or drawn, shown_token=drawn)


def _server() -> ModuleType:
    """Return the module that needs the extra."""
    try:
        with silenced_stderr():  # TensorFlow tells of devices that are not there
            from boxtune.serving import server
    except ImportError as error:
        raise ConfigError(f'serve needs the package {error.name}: pip install "boxtune[serve]"') from error
    return server


def _check(token: str | None) -> None:
    if token is not None and not re.fullmatch(r"[\w.~-]{8,200}", token, re.ASCII):
        raise ConfigError("the token is unfit: give 8 to 200 letters, digits and . _ ~ -")
