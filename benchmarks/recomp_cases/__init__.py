"""The cases of `recomp.py`."""
