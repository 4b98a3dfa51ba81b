"""The command line. Each command imports what it needs when it is called, so that ``skerry --help`` is instant."""

from skerry.cli.app import app, main

__all__ = ["app", "main"]
