"""Fuzzing of everything that reads a file: valid files, damaged at random, through public entries.

`python -m fuzzing` (or `make fuzz`) runs many inputs; `tests/test_fuzz.py` a few of each target.
"""
