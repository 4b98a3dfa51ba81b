"""The compiled parts; everything else about the package stands in ``pyproject.toml``.

They are optional: where there is no C compiler, skerry installs without them and computes the same in numpy. With
``SKERRY_PURE`` in the environment they are left out, so that the wheel is for any machine, a Raspberry Pi among them.
"""

import os

from setuptools import Extension, setup

# Whatever CFLAGS say, NaN passes no bound and a sum keeps its order. The order counts: clang's -fno-fast-math joins
# products and sums. The linker is told too: gcc would add code that makes the whole process take the smallest numbers
# for zero.
ARITHMETIC = ["-O3", "-fno-fast-math", "-fno-unsafe-math-optimizations"]
# Each product and sum is rounded by itself, as numpy does, so that private gradients are the same to the bit.
ROUNDED = [*ARITHMETIC, "-ffp-contract=off"]
# A product and the sum it goes into may be rounded together, as matrix products in numpy may.
JOINED = [*ARITHMETIC, "-ffp-contract=fast"]


def compiled(path: str, arithmetic: list[str], **more: list[str]) -> Extension:
    """The module of ``path`` without its ending."""
    return Extension(
        f"skerry.{path.replace('/', '.')}",
        [f"{path}.c"],
        extra_compile_args=arithmetic,
        extra_link_args=arithmetic,
        py_limited_api=True,
        optional=True,
        **more,
    )


COMPILED = [
    compiled("strategies/_selection", ROUNDED),
    compiled("strategies/_inner", ROUNDED),
    compiled("device/training/_head", ROUNDED),
    compiled("security/privacy/mechanisms/_inversion", ROUNDED),
    compiled("device/models/_cnn", JOINED, depends=["device/models/_cnn_pass.h"], libraries=["m"]),
]
setup(
    ext_modules=[] if os.environ.get("SKERRY_PURE") else COMPILED,
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
