"""The cases of `mistral.py`."""
