"""Which of the networks of one kind, alike but for their size, stands for all in tests that take long."""

import re
from collections.abc import Iterable

REPEATED = re.compile(r"_(mobilenet_v1|resnet101|resnet152)_")


def smallest_of_each_kind(names: Iterable[str]) -> list[str]:
    """Return `names` of feature extractors, sorted, without those made of the same blocks as another."""
    return sorted(name for name in names if not REPEATED.search(name))
