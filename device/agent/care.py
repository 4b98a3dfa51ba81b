"""How a resident agent looks after its device while it takes part in a round.

1. *Admit*: an instruction waits, before anything is debited, until every condition holds; when it has waited for long
   enough (``last_call``), or nobody waits for the answer any more, it is refused with the reason
   ``conditions_lapsed``, signed like every refusal. The agent's loop does not let it wait in here: it takes it back,
   and gives it again when the device may work, or when it is time to refuse.
2. *Watch*: while it trains, a thread looks at the conditions (``lookout.py``). Training asks between its steps, and
   between the examples of long ones, and yields when one lapsed.
3. *Keep*: where it stood is kept (``checkpoint.py``), ledger and locks are let go, and the owner is told why.
4. *Go on*: as soon as the conditions hold again, under the same debit, from where it stood, to the same end. A process
   that was killed meanwhile does so when it is given the instruction again.

A mini-batch without privacy is not left half-way: one pass of it ends first.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from skerry.clock import Clock
from skerry.device.agent.checkpoint import Checkpoint, Checkpoints
from skerry.device.agent.conditions import Conditions, Lapse
from skerry.device.agent.lookout import INTERVAL_S
from skerry.device.agent.peaks import Peaks
from skerry.device.care import Undertaking
from skerry.device.protocol import CONDITIONS_LAPSED
from skerry.device.yielding import YieldedError, may_be_asked_to_yield, yield_if_asked
from skerry.errors import RefusedError

__all__ = ["DeviceCare"]


class DeviceCare:
    """See the module; one training at a time.

    Args:
        conditions: asked whether the device may work; between steps too, so that it must be quick.
        checkpoints: where a training that was stopped is kept.
        clock: milliseconds since the epoch.
        watching: a block within which the conditions are looked at beside the training.
        peaks: measures what training takes; None: nobody does.
        told: hears the lapses whenever they change; empty when it goes on.
        sleep: waits so many seconds, or until the process is to end.
    """

    def __init__(
        self,
        conditions: Conditions,
        checkpoints: Checkpoints,
        clock: Clock,
        *,
        watching: Callable[[], AbstractContextManager[None]] = nullcontext,
        peaks: Peaks | None = None,
        told: Callable[[tuple[Lapse, ...]], None] = lambda _: None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._conditions, self._checkpoints, self._clock = conditions, checkpoints, clock
        self._watching, self._peaks, self._told, self._sleep = watching, peaks, told, sleep
        self._lapses: tuple[Lapse, ...] = ()
        self.last_call = False
        self.expire()

    def admit(self, work: Undertaking) -> None:
        """See :class:`~skerry.device.care.Care`."""
        if self._peaks is not None:
            self._peaks.expect(work.model)
        waited = False
        while True:
            lapses = self._look()
            if (lapses and self.last_call) or ((lapses or waited) and self._clock() >= work.until):
                why = "; ".join(lapse.sentence for lapse in lapses)
                raise RefusedError(
                    CONDITIONS_LAPSED, f"the device could not work, and the round does not wait for it: {why}"
                )
            yield_if_asked()  # after the refusal, which is what is asked for at last
            if not lapses:
                return
            self._sleep(INTERVAL_S)
            waited = True

    @contextmanager
    def training(self, work: Undertaking) -> Iterator[bytes]:
        """See :class:`~skerry.device.care.Care`."""
        kept = self._checkpoints.find(work)
        key, standing = (os.urandom(32), None) if kept is None else (kept.key, kept.standing)
        measuring = nullcontext() if self._peaks is None else self._peaks.measuring()
        with self._watching(), measuring, may_be_asked_to_yield(self._asked, standing) as yielding:
            try:
                yield key
            except YieldedError:
                self._checkpoints.keep(work, Checkpoint(key, yielding.standing if work.resumable else None))
                raise

    def finished(self) -> None:
        """See :class:`~skerry.device.care.Care`."""
        self._checkpoints.erase()

    def expire(self) -> None:
        """See :class:`~skerry.device.care.Care`."""
        self._checkpoints.expire(self._clock())

    def _asked(self) -> bool:
        return bool(self._conditions.lapses())

    def _look(self) -> tuple[Lapse, ...]:
        before, self._lapses = self._lapses, self._conditions.lapses()
        if [lapse.reason for lapse in before] != [lapse.reason for lapse in self._lapses]:
            self._told(self._lapses)
        return self._lapses
