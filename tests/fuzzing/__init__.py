"""Fuzzing of everything that reads a file, through public entries.

Targets damage valid files at random: each is read or refused. Traps draw sound files in odd types,
units, orders and sizes: what is read has to be what NumPy alone finds.

`python -m fuzzing` (or `make fuzz`) runs many inputs; `tests/test_fuzz.py` a few of each.
"""
