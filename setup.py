"""The one compiled part; everything else about the package stands in ``pyproject.toml``.

It is optional: where there is no C compiler, skerry installs without it and computes the same in numpy. With
``SKERRY_PURE`` in the environment it is left out, so that the wheel is for any machine, a Raspberry Pi among them.
"""

import os

from setuptools import Extension, setup

SELECTION = Extension(
    "skerry.strategies._selection",
    ["strategies/_selection.c"],
    extra_compile_args=["-O3"],
    py_limited_api=True,
    optional=True,
)
setup(
    ext_modules=[] if os.environ.get("SKERRY_PURE") else [SELECTION],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
