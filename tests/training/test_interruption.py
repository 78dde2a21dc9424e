import os
import signal
import threading

import pytest

from boxtune.training.stopping import Interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_within_a_step_a_signal_waits_for_its_end(number):
    with Interruption() as interruption:
        interruption.on_train_batch_begin(0)
        os.kill(os.getpid(), number)
        with pytest.raises(KeyboardInterrupt):
            interruption.give_way(None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_between_steps_it_comes_through_at_once(number):
    with Interruption() as interruption:
        interruption.on_train_batch_begin(0)
        interruption.give_way(None)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)


def test_so_does_a_second_one():
    with Interruption() as interruption:
        interruption.on_train_batch_begin(0)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_of_those_who_train_together_all_end_after_one_step():
    asked = []

    def anyone(wanted):
        asked.append(wanted)
        return len(asked) == 3

    with Interruption(anyone) as interruption:
        interruption.give_way(None)
        os.kill(os.getpid(), signal.SIGTERM)  # between the steps, too, it waits for the others
        interruption.give_way(None)
        with pytest.raises(KeyboardInterrupt):
            interruption.give_way(None)
    assert asked == [False, True, True]


def test_steps_without_a_signal_go_on():
    with Interruption() as interruption:
        for batch in range(3):
            interruption.on_train_batch_begin(batch)
            interruption.give_way(None)


def test_what_was_there_before_is_there_again():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Interruption():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] != before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_another_thread_gets_no_signals():
    failures = []

    def enter():
        try:
            with Interruption():
                pass
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert not failures
