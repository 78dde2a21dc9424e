"""How long a test waits for what is to come: a busy machine decides no test, only what never ends is stopped."""

import time

SECONDS = 600


def wait_until(condition, *, pause=0.005):
    """Wait until `condition()` holds."""
    limit = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < limit
        time.sleep(pause)
