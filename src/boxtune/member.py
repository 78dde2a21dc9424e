"""One of the processes of a training on several devices of a machine, as `boxtune.training.devices` starts them."""

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from boxtune import cli
from boxtune.errors import BoxtuneError


def main() -> int:
    """Train with the arguments given as JSON on the command line; write an error to the file given there."""
    threading.Thread(target=_leave_when_left, daemon=True).start()
    arguments, error_file = json.loads(sys.argv[1]), Path(sys.argv[2])
    return cli.run(_train, {"arguments": arguments, "error_file": error_file})


def _train(arguments: dict[str, Any], error_file: Path) -> int:
    try:
        verb = cli.load("train", arguments["model_dir"])
        settings = {
            "checkpoint_options": verb.CheckpointOptions,
            "evaluation_options": verb.EvaluationOptions,
        }
        given = {name: make(**arguments.pop(name)) for name, make in settings.items() if arguments.get(name)}
        verb.train(
            **arguments,
            **given,
            reporting=verb.Reporting(
                cli.load("report.evaluation").publish,
                cli.load("report.box_drawing").training_images,
                cli.load("training.memory").doubt,
            ),
        )
    except BoxtuneError as error:
        error_file.write_text(json.dumps([type(error).__name__, str(error)]), encoding="utf-8")
        return cli.USER_ERROR
    except KeyboardInterrupt:
        return cli.INTERRUPTED
    return 0


def _leave_when_left() -> None:
    """End as after SIGTERM when the parent process is gone, which closes the input of this one."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
