"""RECOMP (arXiv 2310.04408), table by table."""
