"""Measuring a model under the conditions that devices meet; whatever is measured runs in a process of its own.

* ``conditions``: what a condition is, and how it is written;
* ``quota``, ``burning``: how a condition is brought about (``governor`` and ``burner`` are the processes that do it);
* ``probe``: the measured process; ``probing``: its other end; ``runners``: the runtimes inside it;
* ``measuring``: the measurements of one model, one after the other; ``records``, ``statistics``: what is said of them;
* ``profile``: measurements of a machine, saved and compared.

Importing this package imports nothing, because the measured process imports it before its clock starts.
"""
