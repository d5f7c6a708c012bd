"""The pool of threads: work begins while there may be another thread, whatever other work waits for."""

import threading

from seclude.supervise.pool import Pool


def test_work_that_waits_for_each_other_is_all_begun():
    pool = Pool(8)
    for _ in range(300):
        together = threading.Barrier(9, timeout=30)
        for _ in range(8):
            pool.submit(together.wait)
        together.wait()
    assert pool.threads == 8
    pool.stop()


def test_threads_are_made_as_they_are_needed_and_no_more():
    pool = Pool(3)
    gate, begun, done = threading.Semaphore(0), threading.Semaphore(0), threading.Semaphore(0)

    def work():
        begun.release()
        gate.acquire(timeout=30)
        done.release()

    for expected in (1, 2, 3, 3, 3):
        pool.submit(work)
        assert pool.threads == expected
    for _ in range(3):
        assert begun.acquire(timeout=30)
    assert pool.waiting == 2
    gate.release(5)
    for _ in range(5):
        assert done.acquire(timeout=30)
    pool.stop()


def test_work_that_raises_is_told_and_its_thread_goes_on(capsys):
    pool = Pool(1)
    done = threading.Semaphore(0)

    def fail():
        raise ZeroDivisionError

    for _ in range(3):
        pool.submit(fail)
    pool.submit(done.release)
    assert done.acquire(timeout=30)
    assert pool.threads == 1
    assert capsys.readouterr().err.count("\nZeroDivisionError\n") == 3
    pool.stop()


def test_a_thread_that_cannot_be_made_is_an_error_where_there_is_none(monkeypatch):
    pool = Pool(4)

    def refuse(function, arguments):
        raise RuntimeError("can't start new thread")

    done = threading.Semaphore(0)
    with monkeypatch.context() as patch:
        patch.setattr("_thread.start_new_thread", refuse)
        try:
            pool.submit(done.release)
        except RuntimeError:
            assert pool.threads == pool.waiting == 0
        else:
            raise AssertionError("nobody would do it")
    gate = threading.Semaphore(0)
    pool.submit(gate.acquire)
    with monkeypatch.context() as patch:
        patch.setattr("_thread.start_new_thread", refuse)
        pool.submit(done.release)  # the one that is there does it, later
    assert pool.threads == 1
    gate.release()
    assert done.acquire(timeout=30)
    pool.stop()
