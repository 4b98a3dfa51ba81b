"""What is tried on an emulated aarch64 is collected by `make test-arm64` alone, which has made one."""

import os

collect_ignore_glob = [] if os.environ.get("SKERRY_ARM64_ROOT") else ["test_*.py"]
