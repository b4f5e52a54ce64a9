"""The one small case with the real model: it likes the chunk with the answer, and the mixture finds it."""

import pytest
from references import score_token_by_token

from october.language_models import ModelHandle
from october.retrieval.ra_dit import (
    ChunkScorer,
    Demonstration,
    Ensemble,
    Example,
    Reading,
    answer_text,
    few_shot_head,
    with_background,
)

GOLD = "Ada Brenner Brenner was born in Graz in 1843 and became an engraver of maps."
CHUNKS = (
    "Graz Graz lies on the Mur and has 300,000 inhabitants.",
    GOLD,
    "Ada Brenner Brenner's maps were printed in Linz.",
)


def asked(question, answer):
    return Example("test", "open_qa", f"Question: {question}\nAnswer:", answer, question)


HEAD = few_shot_head(
    [
        Demonstration(asked("In which year was Albert Einstein born?", "1879"), "Einstein was born in Ulm in 1879."),
        Demonstration(asked("What is the capital of Norway?", "Oslo"), "Norway's capital is Oslo."),
    ]
)
EXAMPLE = asked("In which year was Ada Brenner born?", "1843")


@pytest.mark.gemma
def test_gemma_likes_the_chunk_with_the_answer_and_the_mixture_finds_it(tmp_path):
    lm = ModelHandle("gemma", embedded="gemma3_270m", dtype="float32", device="cpu").language_model()
    scores = ChunkScorer(lm, "gemma", tmp_path, head=HEAD).scores([(EXAMPLE, chunk) for chunk in CHUNKS])
    likelihoods = [score.log_likelihood for score in scores]
    assert max(likelihoods) == likelihoods[1] > max(likelihoods[0], likelihoods[2]) + 1
    prompts = [HEAD + with_background(EXAMPLE, chunk) for chunk in CHUNKS]
    expected = [sum(score_token_by_token(lm, prompt, answer_text("1843"))) for prompt in prompts[:2]]
    assert likelihoods[:2] == pytest.approx(expected, abs=1e-3)
    reading = Reading(EXAMPLE, CHUNKS, (0.5, 0.45, 0.4))
    (mixed,) = Ensemble(lm, head=HEAD).answers([reading], max_new_tokens=8)
    (chosen,) = Ensemble(lm, head=HEAD).choices([reading], [["1879", "1843", "300,000"]])
    assert mixed.text == chosen.text == mixed.written[1] == "1843"
    assert len(mixed.candidates) > 1
