"""A server in a thread of the tests, with a model that can be held up."""

import contextlib
import logging

import pytest

from boxtune.load import load
from boxtune.serving.limits import Limits
from serving import red_model
from serving.running import HeldModel, running


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    return red_model.export(tmp_path_factory.mktemp("red") / "reds")


@pytest.fixture(scope="session")
def model(exported):
    return load(exported)


@pytest.fixture
def held(model):
    return HeldModel(model)


@pytest.fixture(autouse=True)
def logged(caplog):
    """What the server has logged."""
    caplog.set_level(logging.WARNING)
    return caplog


@pytest.fixture
def serve(held):
    """Start servers; at the end of the test they are gone."""
    with contextlib.ExitStack() as stack:

        def start(token=None, **limits):
            return stack.enter_context(running(held, Limits(**limits), token))

        yield start


@pytest.fixture(scope="session")
def shared_server(model):
    with running(HeldModel(model), Limits()) as server:
        yield server


@pytest.fixture
def server(shared_server):
    """A server of many tests, whose model is as it was at the start."""
    shared_server.model.reset()
    yield shared_server
    shared_server.model.reset()
