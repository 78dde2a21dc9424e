import os
import signal
import threading

import pytest

from boxtune.training.callbacks import StopSignals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_within_a_step_a_signal_waits_for_its_end(number):
    with StopSignals() as signals:
        signals.on_train_batch_begin(0)
        os.kill(os.getpid(), number)
        with pytest.raises(KeyboardInterrupt):
            signals.raise_if_received(None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_between_steps_it_raises_at_once(number):
    with StopSignals() as signals:
        signals.on_train_batch_begin(0)
        signals.raise_if_received(None)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)


def test_a_second_signal_raises_at_once():
    with StopSignals() as signals:
        signals.on_train_batch_begin(0)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_processes_that_train_together_end_after_the_same_step():
    asked = []

    def anyone(expected):
        asked.append(expected)
        return len(asked) == 3

    with StopSignals(anyone) as signals:
        signals.raise_if_received(None)
        os.kill(os.getpid(), signal.SIGTERM)  # between the steps, too, it waits for the others
        signals.raise_if_received(None)
        with pytest.raises(KeyboardInterrupt):
            signals.raise_if_received(None)
    assert asked == [False, True, True]


def test_steps_without_a_signal_continue():
    with StopSignals() as signals:
        for batch in range(3):
            signals.on_train_batch_begin(batch)
            signals.raise_if_received(None)


def test_the_handlers_before_are_restored():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopSignals():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] != before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_another_thread_gets_no_signals():
    failures = []

    def enter():
        try:
            with StopSignals():
                pass
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert not failures
