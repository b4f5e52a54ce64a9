"""The peer of scoring: a forward pass for each prompt, whole, in inference mode and without a cache."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers

from shared_cases.threads import threads

LARGEST_DIFFERENCE = 1e-4  # nats


@torch.inference_mode()
def one_by_one(
    model: Any, tokenizer: Any, prompts: Sequence[str], answers: Sequence[str], *, all_logits: bool
) -> list[float]:
    """Return each answer's log-probability after its prompt; the last token is not read, as nothing follows it.

    Logits are those of float32, but normalised in float64: 262,144 exponentials that are added up in float32 may be off
    by more than the 1e-4 that `check` allows, depending on the processor.
    """
    totals = []
    for prompt, answer in zip(prompts, answers, strict=True):
        start = len(tokenizer(prompt)["input_ids"])
        token_ids = torch.tensor(tokenizer(prompt + answer)["input_ids"])
        asked_for = token_ids[start:].to(model.device)
        read = token_ids[None, :-1].to(model.device)
        kept = 0 if all_logits else len(asked_for)
        logits = model(input_ids=read, use_cache=False, logits_to_keep=kept).logits[0, -len(asked_for) :]
        totals.append(float(logits.double().log_softmax(dim=-1).gather(1, asked_for[:, None]).sum()))
    return totals


def check(ours: Sequence[float], theirs: Sequence[float]) -> None:
    """Check that both are the same to 1e-4 nats."""
    difference = np.abs(np.subtract(ours, theirs)).max()
    assert difference <= LARGEST_DIFFERENCE, f"log-probabilities differ by {difference:.1e}"


def peer_settings() -> str:
    """Say with what the peer runs."""
    return f"transformers {transformers.__version__}, sdpa, no cache, inference mode; {threads()}"
