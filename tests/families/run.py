"""The command line of boxtune with the families of this folder: each is registered by one line."""

import sys

from boxtune import cli
from boxtune.config import families
from families.center_points import CenterPoints
from families.object_queries import ObjectQueries

if __name__ == "__main__":
    families.register(CenterPoints())
    families.register(ObjectQueries())
    sys.exit(cli.main())
