"""`python -m boxtune`."""

import sys

from boxtune.cli import main

sys.exit(main())
