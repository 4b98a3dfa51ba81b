"""The one compiled part; everything else about the package stands in ``pyproject.toml``.

It is optional: where there is no C compiler, skerry installs without it and computes the same in numpy.
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "skerry.strategies._selection",
            ["strategies/_selection.c"],
            extra_compile_args=["-O3"],
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
