"""What the language model thinks of ten chunks for each of 64 examples, against a forward pass for each pair.

Ours reads once what prompts share, takes rests of similar length together and computes the logits of the answers'
tokens. The peer passes the prompts one after the other, whole, in inference mode and without a cache: with the logits
of all positions, as the packaged implementation of this paper does, or with those alone that the answer needs.
"""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from shared_cases.full_passes import check, one_by_one, peer_settings

from october.language_models import ModelHandle, TransformersLM
from october.reporting.benchmarks import Case
from october.retrieval.ra_dit import ChunkScorer, Reading, answer_text, with_background
from ra_dit_cases.readings import readings

NUM_EXAMPLES, NUM_CHUNKS = 64, 10


def scoring_cases(divisor: int) -> list[Case]:
    """Return the cases on Gemma-3-270M in float32, in which equal results can be asked for."""
    handle = ModelHandle(name="gemma3_270m", embedded="gemma3_270m", dtype="float32")
    asked = readings(max(2, NUM_EXAMPLES // divisor), NUM_CHUNKS)
    return cases_of(TransformersLM(*handle.load()), asked, "Gemma-3-270M, float32")


def cases_of(lm: TransformersLM, asked: Sequence[Reading], what: str) -> list[Case]:
    """Return the two cases of one model."""
    pairs = [(one.example, passage) for one in asked for passage in one.passages]
    prompts = [with_background(*pair) for pair in pairs]
    answers = [answer_text(example.answer, prompt) for (example, _), prompt in zip(pairs, prompts, strict=True)]
    name = f"score {len(asked[0].passages)} chunks for {len(asked)} examples, {what}"

    def ours() -> list[float]:
        folder = Path(tempfile.mkdtemp())  # an empty one: what is kept from before would cost nothing
        try:
            return [score.log_likelihood for score in ChunkScorer(lm, "benchmark", folder).scores(pairs)]
        finally:
            shutil.rmtree(folder)

    def case(kind: str, bar: str | None, *, all_logits: bool) -> Case:
        return Case(
            name=f"{name}: against {kind}",
            ours=ours,
            peer=lambda: one_by_one(lm.model, lm.tokenizer, prompts, answers, all_logits=all_logits),
            bar=bar,
            repeats=1,  # of 640 passes: ten minutes and more on two cores with short vectors
            check=check,
            peer_settings=peer_settings(),
        )

    return [
        case("a full forward pass for each pair", ">=3", all_logits=True),
        case("a forward pass for each pair, logits of the answer alone", None, all_logits=False),
    ]
