"""Ring Attention with Blockwise Transformers for Near-Infinite Context (arXiv 2310.01889), table by table."""
