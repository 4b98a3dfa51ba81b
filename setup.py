"""The compiled parts; everything else about the package stands in ``pyproject.toml``.

They are optional: where there is no C compiler, skerry installs without them and computes the same in numpy. With
``SKERRY_PURE`` in the environment they are left out, so that the wheel is for any machine, a Raspberry Pi among them.
"""

import os

from setuptools import Extension, setup

COMPILED = [
    Extension(
        f"skerry.{path.replace('/', '.')}",
        [f"{path}.c"],
        # A product and a sum are rounded one after the other, as numpy does: private gradients are the same to the bit.
        extra_compile_args=["-O3", "-ffp-contract=off"],
        py_limited_api=True,
        optional=True,
    )
    for path in (
        "strategies/_selection",
        "strategies/_inner",
        "device/training/_head",
        "security/privacy/mechanisms/_inversion",
    )
]
setup(
    ext_modules=[] if os.environ.get("SKERRY_PURE") else COMPILED,
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
