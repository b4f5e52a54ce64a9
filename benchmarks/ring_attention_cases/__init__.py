"""The cases of `ring_attention.py`."""
