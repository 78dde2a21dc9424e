"""Compare each recorded model with its recording, then take each type of model through its whole life.

One after another, each in a process of its own: prints the time and the peak of memory of each, and ends with 1 if any
failed.

    python tests/each_model.py [recordings] [lives]
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import boxtune  # noqa: F401 - before TensorFlow: it switches oneDNN on

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
TESTS = Path(__file__).parent
RECORDINGS = TESTS / "golden" / "test_models.py"
LIVES = TESTS / "journey" / "test_every_model.py"


def main(groups: list[str]) -> int:
    """Run the tests of each model in the groups, all without any; return the exit status."""
    sys.path.insert(0, str(TESTS))
    from boxtune.config.families import recipe_names
    from golden.test_models import LARGER, MODELS, MORE

    names = {"recordings": (RECORDINGS, (*MODELS, *MORE, *LARGER)), "lives": (LIVES, recipe_names())}
    chosen = [names[group] for group in groups or names]
    statuses = [run(file, name) for file, names_of_file in chosen for name in names_of_file]
    return int(any(statuses))


def run(file: Path, name: str) -> int:
    """Run the tests of one model in a file, and print its line."""
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", str(file), "-k", f"{name}]"]
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
