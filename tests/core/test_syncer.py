"""Writing behind: in order, no failure lost, nothing left undone by a block."""

import os
import signal
import threading

import pytest

from skerry.syncer import Syncer


def test_jobs_are_done_in_order_while_the_caller_goes_on():
    gate, done = threading.Event(), []
    with Syncer() as syncer:
        syncer.begin(lambda: gate.wait(180) and done.append("slow"))
        second = syncer.begin(done.append, "quick")
        assert done == []  # the caller is here although the first job has not ended
        gate.set()
        second.wait()
        assert done == ["slow", "quick"]


def test_settling_waits_for_everything_and_tells_the_first_failure_once():
    done = []

    def fail(text: str) -> None:
        done.append(text)
        raise OSError(text)

    with Syncer() as syncer:
        syncer.begin(fail, "first")
        syncer.begin(fail, "second")
        syncer.begin(done.append, "third")
        with pytest.raises(OSError, match="first"):
            syncer.settle()
        assert done == ["first", "second", "third"]
        syncer.settle()


def test_a_failure_that_nobody_asked_for_is_raised_where_the_block_ends():
    def fail() -> None:
        raise OSError("no space")

    def block() -> None:
        with Syncer() as syncer:
            syncer.begin(fail)
            for _ in range(5):
                syncer.begin(lambda: None).wait()

    with pytest.raises(OSError, match="no space"):
        block()


def test_a_block_that_fails_still_waits_for_its_jobs():
    done = []
    gate = threading.Event()

    def block() -> None:
        with Syncer() as syncer:
            syncer.begin(lambda: (gate.wait(180), done.append(1)))
            threading.Timer(0.05, gate.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        block()
    assert done == [1]


@pytest.mark.parametrize("asked", [True, False])
def test_an_interrupt_while_a_job_is_begun_neither_hangs_the_block_nor_lets_it_go_before_the_job_is_done(asked):
    class Interrupted:
        """A queue in whose ``put`` a Ctrl-C falls, once: after the job has been put, or before."""

        def __init__(self, queue):
            self.queue, self.armed = queue, True

        def put(self, item):
            if not self.armed or asked:
                self.queue.put(item)
            if self.armed:
                self.armed = False
                raise KeyboardInterrupt

    done = []
    gate = threading.Event()

    def block() -> None:
        with Syncer() as syncer:
            syncer.begin(lambda: None).wait()
            syncer._queue = Interrupted(syncer._queue)
            threading.Timer(0.05, gate.set).start()
            syncer.begin(lambda: (gate.wait(180), done.append(1)))

    with pytest.raises(KeyboardInterrupt):
        block()
    assert done == [1] * asked


def test_a_block_that_is_interrupted_while_it_settles_waits_all_the_same():
    done = []
    gate = threading.Event()

    def block() -> None:
        with Syncer() as syncer:
            syncer.begin(lambda: (gate.wait(180), done.append(1)))
            threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
            try:
                syncer.settle()
            finally:
                threading.Timer(0.05, gate.set).start()

    with pytest.raises(KeyboardInterrupt):
        block()
    assert done == [1]


def test_it_can_be_used_again_and_in_a_forked_child():
    syncer = Syncer()
    syncer.begin(lambda: None).wait()
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a child that waits for its parent's thread waits for ever
        try:
            syncer.begin(lambda: None).wait()
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    syncer.close()
    syncer.begin(lambda: None).wait()
    syncer.close()
