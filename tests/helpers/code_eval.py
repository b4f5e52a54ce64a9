"""A stand-in for the engine's metric of programs: it wants to be allowed whenever it computes, and runs nothing."""

import os


class CodeEval:
    """A program is right where it returns 3."""

    def compute(self, references, predictions, k):
        assert os.environ.get("HF_ALLOW_CODE_EVAL") == "1"
        return {"pass@1": float("return 3" in predictions[0][0])}, {}
