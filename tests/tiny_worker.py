"""The command line, with a detector of two layers in place of that of the configuration.

tiny_worker.py train --pipeline_config_path ...     as `boxtune` does
tiny_worker.py member ARGUMENTS ERROR_FILE          as `boxtune.member` does
"""

import sys

from boxtune import cli, member, models
from tiny_run import TinyDetector

if __name__ == "__main__":
    models.build = lambda section, options=None: TinyDetector()
    if sys.argv[1] == "member":
        del sys.argv[1]
        sys.exit(member.main())
    sys.exit(cli.main(sys.argv[1:]))
