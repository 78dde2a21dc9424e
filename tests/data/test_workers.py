import multiprocessing
import os
import subprocess
import sys
from operator import neg

import pytest

import patience
from boxtune.data import workers
from boxtune.data.reading import read
from boxtune.data.workers import kept_processes, map_in_processes, map_in_threads
from boxtune.errors import DataError
from voc_folder import annotated, element


def who(_):
    return os.getpid()


def fail_at_seven(number):
    if number == 7:
        raise DataError("seven")
    return number


def give_up(_):
    os._exit(1)


@pytest.mark.parametrize("num_workers", [1, 2, None])
def test_results_come_in_order(num_workers):
    items = list(range(1000))
    assert list(map_in_processes(neg, items, num_workers=num_workers, chunk_size=7)) == [-i for i in items]


def test_threads_give_results_in_order_and_are_only_a_little_ahead():
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    results = map_in_threads(neg, items())
    assert [next(results) for _ in range(3)] == [0, -1, -2]
    assert len(taken) <= 3 + 2 * workers.num_cores()
    assert list(results) == [-number for number in range(3, 1000)]


def test_what_fails_in_a_thread_fails_where_its_result_is_taken():
    results = map_in_threads(fail_at_seven, range(10))
    assert [next(results) for _ in range(7)] == list(range(7))
    with pytest.raises(DataError, match="seven"):
        next(results)


def test_work_is_done_in_other_processes_but_not_for_one_chunk():
    assert os.getpid() not in set(map_in_processes(who, range(10), num_workers=2, chunk_size=2))
    assert set(map_in_processes(who, range(10), num_workers=2, chunk_size=10)) == {os.getpid()}


def test_an_error_of_a_worker_is_raised_here():
    with pytest.raises(DataError, match="seven"):
        list(map_in_processes(fail_at_seven, range(20), num_workers=2, chunk_size=2))


def test_processes_can_be_kept():
    with kept_processes():
        first = set(map_in_processes(who, range(40), num_workers=2, chunk_size=1))
        second = set(map_in_processes(who, range(40), num_workers=2, chunk_size=1))
    third = set(map_in_processes(who, range(40), num_workers=2, chunk_size=1))
    assert len(first | second) <= 2
    assert third.isdisjoint(first)


def test_an_error_leaves_kept_processes_usable():
    with kept_processes():
        with pytest.raises(DataError, match="seven"):
            list(map_in_processes(fail_at_seven, range(20), num_workers=2, chunk_size=2))
        assert list(map_in_processes(neg, range(20), num_workers=2, chunk_size=2)) == [-i for i in range(20)]


def test_a_worker_that_ends_by_itself_is_an_error():
    with pytest.raises(DataError, match=r"A worker process ended .* num_workers 1"):
        list(map_in_processes(give_up, range(20), num_workers=2, chunk_size=2))


def test_a_script_without_a_guard_is_reported_what_it_lacks(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from operator import neg\n"
        "from boxtune.data.workers import map_in_processes\n"
        "print(list(map_in_processes(neg, range(20), num_workers=2, chunk_size=2)))\n"
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=patience.SECONDS)
    assert ended.returncode == 1
    assert "DataError: A worker process ended before its work was done. A script" in ended.stderr


def test_a_data_set_is_read_by_processes_that_are_spawned_as_well(tmp_path, monkeypatch):
    for number in range(70):
        annotated(tmp_path, f"{number:02}", element(xmax=10 + number % 7))
    expected = read(tmp_path, num_workers=1)
    monkeypatch.setattr(
        workers, "_context", lambda: multiprocessing.get_context("spawn")
    )  # the way of Windows
    found = read(tmp_path, num_workers=2)
    assert found.images == expected.images
    assert found.digests == expected.digests
    assert len(found.images) == 70
