"""What the tests of all formats export."""

import pytest

from boxtune import models
from several_boxes import Several, write_run
from tiny_run import TinyDetector


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A folder with records of balls, a configuration and a checkpoint of the detectors of `several_boxes`."""
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(params=[TinyDetector, Several])
def kind(request, monkeypatch):
    monkeypatch.setattr(models, "build", lambda section, options=None: request.param())
    return request.param


@pytest.fixture
def several(monkeypatch):
    monkeypatch.setattr(models, "build", lambda section, options=None: Several())
