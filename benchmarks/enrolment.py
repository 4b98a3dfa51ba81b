"""Benchmark ``enrolment``: a fleet that joins through the gateway, and downloads through it.

Groups: ``gateway``, ``downloads``.
"""

from _downloads import downloads
from _enrolments import through_gateway
from _harness import main, versions

if __name__ == "__main__":
    main(
        "enrolment",
        {"gateway": through_gateway, "downloads": downloads},
        versions("cryptography", "h11", "starlette", "uvicorn", "uvloop", "sqlalchemy"),
    )
