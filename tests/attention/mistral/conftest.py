"""Tiny models are shared with the tests of the house decoder."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # tiny_mistral.py
sys.path.insert(0, str(Path(__file__).parent.parent))  # tiny_decoders.py
sys.path.insert(0, str(Path(__file__).parent.parent.parent / "language_models"))  # tiny_tokenizers.py
