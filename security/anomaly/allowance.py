"""How many false alarms a rate allows so far: a bound that holds for any sequence of updates."""

__all__ = ["Allowance"]


class Allowance:
    """Earns ``rate`` with each update that is judged, and pays 1 for each that a learned limit alone acts on.

    **Guarantee**: after N updates at most ``rate``·N were dropped or clipped for a limit that lies nearer than the
    fixed one. That is arithmetic and assumes nothing. It is needed because the limits of
    :class:`~skerry.security.anomaly.calibration.Calibration` keep the rate only if scores are exchangeable, and those
    of one run are not: a device that lies far out today lies there tomorrow.

    Hostile updates earn and pay as honest ones do. With a hostile share h at most ``rate`` / (1 - h) of the honest ones
    are acted on; and hostile ones that lie out a little can use up the room, after which only the fixed limit holds.

    Reference: Gibbs and Candès 2021, "Adaptive Conformal Inference Under Distribution Shift" (arXiv:2106.00170), which
    moves the limit's rate by what was flagged; here its room ends instead.

    >>> allowance = Allowance(0.01)
    >>> allowance.earn(250)
    >>> allowance.room
    2
    >>> allowance.pay(2)
    >>> allowance.room
    0
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._judged = 0
        self._paid = 0

    @property
    def room(self) -> int:
        """Updates that may still be acted on."""
        return int(self._rate * self._judged + 1e-9) - self._paid

    def earn(self, judged: int) -> None:
        """Count updates of a round that are judged."""
        self._judged += judged

    def pay(self, acted_on: int) -> None:
        """Count those that were dropped or clipped for a learned limit alone."""
        self._paid += acted_on

    def state(self) -> dict[str, int]:
        """JSON values."""
        return {"judged": self._judged, "paid": self._paid}

    def restore(self, state: dict[str, int]) -> None:
        """Go on from :meth:`state`."""
        self._judged, self._paid = state["judged"], state["paid"]
