"""Compare each recorded model with its recording, one after another, each in a process of its own.

Prints the time and the peak of memory of each, and ends with 1 if any differs.

    python tests/golden/each_model.py [NAME ...]
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import boxtune  # noqa: F401 - before TensorFlow: it switches oneDNN on

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
TESTS = Path(__file__).parent / "test_models.py"


def main(names: list[str]) -> int:
    """Run the tests of each model; return the exit status."""
    sys.path.insert(0, str(TESTS.parent.parent))
    from golden.test_models import LARGER, MODELS, MORE

    statuses = [run(name) for name in names or (*MODELS, *MORE, *LARGER)]
    return int(any(statuses))


def run(name: str) -> int:
    """Run the tests of one model, and print its line."""
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", str(TESTS), "-k", f"{name}]"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    output = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    minutes, memory = (time.monotonic() - began) / 60, used.ru_maxrss / 2**20
    print(f"{name:48} {minutes:6.1f} min {memory:6.1f} GiB  {output.strip().splitlines()[-1]}", flush=True)
    if status:
        print(output)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
