"""Mistral 7B (arXiv 2310.06825), table by table."""
