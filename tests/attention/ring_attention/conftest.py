"""The dense reference is shared by the test modules of this folder, and by the processes that load them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # dense_reference.py
