"""Which rule a round uses, when some devices are already in quarantine."""

from skerry.strategies import Rule, parse_rule

__all__ = ["rule_for"]


def rule_for(aggregator: str, *, tolerate: int, out: int, rows: int, seed: int) -> Rule:
    """The rule of a scenario for the largest number of hostile devices that this many rows allow, ``tolerate`` at most.

    A device can be out and honest, where that rests on a comparison of devices with each other. Were every device that
    is out taken off ``tolerate``, an attacker who gets honest devices dropped would disarm the rule: two honest
    devices out, and "tolerate 2" is a plain mean. So the rule goes on tolerating as many, unless too few rows are left
    for that; only then are those that are out counted as found. Else copies could stop a round by being dropped.

    Args:
        aggregator: as in ``defence.aggregator``.
        tolerate: f, as in ``defence.tolerate``.
        out: devices in quarantine, and those whose update the screen dropped in this round.
        rows: updates to aggregate.
        seed: of the shuffle in ``bucketing``.

    Raises:
        ScenarioError: unknown rule.

    >>> rule_for("nnm+trimmed_mean", tolerate=2, out=2, rows=9, seed=0).minimum()
    5
    >>> rule_for("nnm+trimmed_mean", tolerate=2, out=2, rows=4, seed=0).minimum()
    3
    """
    least = max(0, tolerate - out)
    for left in range(tolerate, least, -1):
        rule = parse_rule(aggregator, tolerate=left, seed=seed)
        if rule.minimum() <= rows:
            return rule
    return parse_rule(aggregator, tolerate=least, seed=seed)
