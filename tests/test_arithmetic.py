"""The switches of repeatable arithmetic, in threads and in forks."""

import os
import threading

import pytest
import torch

from ilo.arithmetic import _switches, repeatable

WANTED = (True, False, "ieee", "ieee")


def test_the_switches_are_turned_and_turned_back():
    before = _switches()
    with repeatable():
        assert _switches() == WANTED
        with repeatable():
            assert _switches() == WANTED
        assert _switches() == WANTED, "the inner one leaves them to the outer"
    assert _switches() == before


def test_an_error_inside_turns_them_back():
    before = _switches()
    with pytest.raises(ZeroDivisionError), repeatable():
        1 / 0  # noqa: B018
    assert _switches() == before


def test_six_threads_that_overlap_each_have_them_and_leave_them_as_they_were():
    torch.backends.cudnn.deterministic = False
    before, wrong = _switches(), []
    all_inside = threading.Barrier(6)

    def work(number):
        for turn in range(50):
            with repeatable():
                if turn == 0:
                    all_inside.wait(30)
                if _switches() != WANTED:
                    wrong.append((number, turn))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert _switches() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_while_another_thread_holds_the_lock_does_not_wait_for_it():
    from ilo import arithmetic

    with arithmetic._lock:
        child = os.fork()
        if child == 0:
            with repeatable():
                os._exit(0 if _switches() == WANTED else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
