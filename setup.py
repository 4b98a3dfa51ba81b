"""The compiled parts; everything else about the package stands in ``pyproject.toml``.

They are optional: where there is no C compiler, skerry installs without them and computes the same in numpy. With
``SKERRY_PURE`` in the environment they are left out, so that the wheel is for any machine, a Raspberry Pi among them.
"""

import os

from setuptools import Extension, setup

COMPILED = [
    Extension(
        f"skerry.strategies.{name}",
        [f"strategies/{name}.c"],
        extra_compile_args=["-O3"],
        py_limited_api=True,
        optional=True,
    )
    for name in ("_selection", "_inner")
]
setup(
    ext_modules=[] if os.environ.get("SKERRY_PURE") else COMPILED,
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
