"""Run by a test: every verb with a file that it may not read; one line of JSON for each."""

import ctypes
import json
import os
import shutil
import sys
from pathlib import Path

import boxtune  # noqa: F401 - before Keras: it switches oneDNN on
from boxtune import models
from hostile import project
from tiny_run import TinyDetector

PR_CAPBSET_READ, PR_CAPBSET_DROP = 23, 24  # linux/prctl.h
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2  # linux/capability.h


def give_up_reading_everything() -> None:
    """Begin anew without root's right to read every file; what root owns, such as Python, it may still read."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0 and libc.prctl(PR_CAPBSET_READ, CAP_DAC_OVERRIDE, 0, 0, 0) == 1:
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
                raise OSError(ctypes.get_errno(), "a capability cannot be dropped")
        os.execv(sys.executable, sys.orig_argv)


def main(made: Path, folder: Path) -> None:
    models.build = lambda section, options=None: TinyDetector()
    for pattern, verbs in project.READ_BY.items():
        for name in sorted(path.relative_to(made) for path in made.glob(pattern)):
            for verb in verbs:
                own = folder / "project"
                project.copy(made, own)
                (own / name).chmod(0)
                try:
                    (own / name).read_bytes()
                    output = "it can be read all the same"
                    status = -1
                except PermissionError:
                    status, output = project.run(project.verbs(own)[verb])
                print(json.dumps([str(name), verb, status, output]), flush=True)
                shutil.rmtree(own)


if __name__ == "__main__":
    give_up_reading_everything()
    main(Path(sys.argv[1]), Path(sys.argv[2]))
