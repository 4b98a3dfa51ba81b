"""A signal that comes while a sound payload is opened stops the process, and does not make it a forged one."""

import signal
import time
from types import FrameType

import pytest

from skerry.security.hpke import KemPrivateKey, KemSuite

INFO = b"test"
PLAIN = bytes(4096)


@pytest.mark.parametrize("suite", KemSuite)
def test_what_a_handler_raises_while_something_is_opened_is_raised(suite: KemSuite) -> None:
    key = KemPrivateKey.generate(suite)
    sealed = key.public.seal(PLAIN, INFO)
    rung, raised = 0, 0

    def ring(_number: int, _frame: FrameType | None) -> None:
        nonlocal rung
        rung += 1
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, ring)
    try:
        for microseconds in range(1, 600):
            already = rung
            try:
                signal.setitimer(signal.ITIMER_REAL, microseconds * 1e-6)
                for _ in range(5):
                    assert key.open(sealed, INFO) == PLAIN
                latest = time.monotonic() + 60
                while rung == already:
                    # Without a call that takes the interpreter's lock anew, a signal that came while Python reckoned
                    # whether there is one would wait for ever.
                    time.sleep(1e-5)
                    assert time.monotonic() < latest
            except KeyboardInterrupt:
                raised += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert raised == rung == 599


@pytest.mark.parametrize("suite", KemSuite)
def test_what_was_altered_is_still_refused(suite: KemSuite) -> None:
    key = KemPrivateKey.generate(suite)
    sealed = bytearray(key.public.seal(PLAIN, INFO))
    sealed[-1] ^= 1
    assert key.open(bytes(sealed), INFO) is None
    assert key.open(key.public.seal(PLAIN, INFO), b"other") is None
