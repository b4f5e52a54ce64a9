"""Language Models Represent Space and Time (arXiv 2310.02207), table by table."""
