"""The compiled parts; everything else about the package stands in ``pyproject.toml``.

They are optional: where there is no C compiler, skerry installs without them and computes the same in numpy. With
``SKERRY_PURE`` in the environment they are left out, so that the wheel is for any machine, a Raspberry Pi among them.
"""

import os

from setuptools import Extension, setup

# Whatever CFLAGS say, each product and sum is rounded by itself, as numpy does, so that private gradients are the
# same to the bit, and NaN passes no bound. The order counts: clang's -fno-fast-math joins products and sums. The
# linker is told too: gcc would add code that makes the whole process take the smallest numbers for zero.
ARITHMETIC = ["-O3", "-fno-fast-math", "-fno-unsafe-math-optimizations", "-ffp-contract=off"]
COMPILED = [
    Extension(
        f"skerry.{path.replace('/', '.')}",
        [f"{path}.c"],
        extra_compile_args=ARITHMETIC,
        extra_link_args=ARITHMETIC,
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
