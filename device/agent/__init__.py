"""The resident process of a device, and how it looks after the device it lives on.

Importing this package imports nothing, so that a command line that asks for one part of it waits for no other.
"""
