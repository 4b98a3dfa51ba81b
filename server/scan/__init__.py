"""``skerry security scan``: is there a backdoor in a model that has been trained?

1. *probes*: what plain rectangles on public examples turn into which class (:mod:`skerry.device.evaluation.probes`);
2. *shortcuts*, where asked for: the smallest patch of each class (:mod:`skerry.device.evaluation.shortcuts`);
3. *head change*: directions of a trained head that stand out against the public one;
4. *verdict record*: who was kept out of the run, and who got in despite an alarm;
5. *cleaned*, where asked for: a model without what may be a backdoor, beside the one that was scanned.
"""

from skerry.server.scan.cleaned import Cleaning, check_new, write_cleaned
from skerry.server.scan.scan import CANNOT_SEE, Scan, Subject, scan, subject_of_file, subject_of_run

__all__ = [
    "CANNOT_SEE",
    "Cleaning",
    "Scan",
    "Subject",
    "check_new",
    "scan",
    "subject_of_file",
    "subject_of_run",
    "write_cleaned",
]
