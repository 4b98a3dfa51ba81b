"""Exporting a model: each file is read back and compared with torch before it gets its name.

* ``reference``: what an int8 model means, computed in torch;
* ``compare``: outputs against the reference, whole and operation by operation;
* ``lowering``: ExecuTorch programs; ``formats``: every format, written and run;
* ``describe``: what the card says; ``exporting``: the whole.
"""

from skerry.device.export.exporting import CHECKED_INPUTS, Calibration, Exported, export_model
from skerry.device.export.formats import FORMATS

__all__ = ["CHECKED_INPUTS", "FORMATS", "Calibration", "Exported", "export_model"]
