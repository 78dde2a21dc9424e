"""Run by a test as a user without rights: every verb with a file that it may not read, as JSON."""

import json
import os
import shutil
import sys
from pathlib import Path

import boxtune  # noqa: F401 - before Keras: it switches oneDNN on
from boxtune import models
from hostile import project
from tiny_run import TinyDetector

NOBODY = 65534


def main(made: Path, folder: Path) -> None:
    models.build = lambda section, options=None: TinyDetector()
    project.make(folder / "first")  # by which all is loaded that this process may then no longer read
    shutil.rmtree(folder / "first")
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
        os.setgid(NOBODY)
        os.setuid(NOBODY)
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
    main(Path(sys.argv[1]), Path(sys.argv[2]))
