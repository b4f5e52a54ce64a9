"""The one small case with the real model: it knows which sentence helps, and a window's text by its evidence."""

import pytest

from october.language_models import ModelHandle
from october.retrieval.recomp import (
    AnswerLikelihood,
    AnswerMatch,
    Demonstration,
    QuestionPrompt,
    ScoringRequest,
    strided_losses,
    text_tokens,
)

PROMPT = QuestionPrompt(
    (
        Demonstration("In which year was Albert Einstein born?", "1879"),
        Demonstration("What is the capital of Norway?", "Oslo"),
    )
)
GOLD = "Ada Brenner: Brenner was born in Graz in 1843 and became an engraver of maps."
OTHERS = ("Graz: Graz lies on the Mur.", "Ada Brenner: Brenner died in 1901.", "")


@pytest.mark.gemma
def test_gemma_reads_what_stands_in_front_of_it():
    lm = ModelHandle("gemma", embedded="gemma3_270m", dtype="float32", device="cpu").language_model()
    request = ScoringRequest("In which year was Ada Brenner born?", ("1843",), (*OTHERS, GOLD))
    (likelihoods,) = AnswerLikelihood(lm, PROMPT).scores([request])
    assert max(likelihoods) == likelihoods[-1] > likelihoods[-2] + 1
    request = ScoringRequest("Where was Ada Brenner born?", ("Graz", "Graz, Austria"), request.candidates)
    (matches,) = AnswerMatch(lm, PROMPT, max_new_tokens=6).scores([request])
    assert matches == [0.0, 0.0, 0.0, 1.0]
    tokens = text_tokens(lm.tokenizer, "The map was drawn by many hands. The engraver was born in Graz in 1843.")
    options = {"window": len(tokens) - 4, "stride": 4, "max_evidence_tokens": 8}
    plain, told = (strided_losses(lm, tokens, ["", text], **options).losses for text in ("", "born 1843: 1843"))
    assert told[0] == pytest.approx(plain[0], abs=1e-3)
    assert told[1] < plain[1]
