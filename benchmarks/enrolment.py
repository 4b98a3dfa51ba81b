"""Benchmark ``enrolment``: a fleet that joins through the gateway, and downloads through it.

Groups: ``desk``, ``gateway``, ``downloads``.
"""

from _desk import at_the_desk
from _downloads import downloads
from _enrolments import through_gateway
from _harness import main, versions

if __name__ == "__main__":
    main(
        "enrolment",
        {"desk": at_the_desk, "gateway": through_gateway, "downloads": downloads},
        versions("cryptography", "h11", "starlette", "uvicorn", "uvloop", "sqlalchemy"),
    )
