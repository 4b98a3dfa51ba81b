"""Trying to break a privacy claim: how much an attacker's scores of planted examples prove that was leaked."""

from skerry.security.privacy.audit.attack import AttackStrength, attack_strength
from skerry.security.privacy.audit.bounds import (
    clopper_pearson_epsilon,
    gaussian_one_run_epsilon,
    one_run_epsilon,
    one_run_p_value,
)
from skerry.security.privacy.audit.coins import Coins, toss
from skerry.security.privacy.audit.scores import CanaryScores, ScoreAudit, audit_scores, ceiling, gaussian_scores

__all__ = [
    "AttackStrength",
    "CanaryScores",
    "Coins",
    "ScoreAudit",
    "attack_strength",
    "audit_scores",
    "ceiling",
    "clopper_pearson_epsilon",
    "gaussian_one_run_epsilon",
    "gaussian_scores",
    "one_run_epsilon",
    "one_run_p_value",
    "toss",
]
