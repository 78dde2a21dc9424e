"""Files that once showed a fault: each is read, or refused in one line."""

import pytest

from hostile import fuzz

pytestmark = pytest.mark.hostile


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    return {one.name: one for one in fuzz.targets(tmp_path_factory.mktemp("found"))}


@pytest.mark.parametrize("name", sorted(path.name for path in fuzz.FOUND.iterdir()))
def test_found(targets, name):
    targets[name.rpartition("-")[0]].survives((fuzz.FOUND / name).read_bytes())


def test_what_is_not_changed_is_read(targets):
    assert len(targets) > 30
    for one in targets.values():
        one.read(one.path)
