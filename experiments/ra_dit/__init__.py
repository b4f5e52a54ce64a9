"""RA-DIT (arXiv 2310.01352), table by table."""
