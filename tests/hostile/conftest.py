"""A small project, made once for all tests of this folder."""

import pytest

from boxtune import models
from hostile import project
from tiny_run import TinyDetector


@pytest.fixture(scope="module")
def tiny():
    """A detector of two layers in place of the configured one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "build", lambda section, options=None: TinyDetector())
        yield


@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory):
    """The folder of the project; tests work on copies."""
    folder = tmp_path_factory.mktemp("hostile") / "project"
    project.make(folder)
    return folder
