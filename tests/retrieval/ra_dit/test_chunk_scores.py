import pytest
from oracle_model import OracleModel
from references import prompt_ids, score_token_by_token
from tiny_lm import tiny_lm

from october.errors import OctoberError
from october.retrieval.ra_dit import (
    ChunkScorer,
    Demonstration,
    Example,
    answer_text,
    chunk_scores,
    few_shot_head,
    with_background,
)

pytestmark = pytest.mark.usefixtures("one_thread")

CHUNKS = [f"The old town number {n} is near the river, and the tower is in it." for n in range(5)]


def example(question, answer):
    return Example("test", "open_qa", f"Question: {question}\nAnswer:", answer, question)


EXAMPLES = [example("where is the tower?", "in the old town"), example("what is it?", "a river"), example("who?", "x")]
PAIRS = [(one, chunk) for one in EXAMPLES for chunk in (*CHUNKS, None)]


@pytest.mark.parametrize("family", ["llama", "gemma3"])
@pytest.mark.parametrize("shots", [0, 6])
def test_scores_equal_one_forward_pass_for_each_token(family, shots, tmp_path):
    lm = tiny_lm(family)
    head = few_shot_head(
        [Demonstration(example(f"where is number {n}?", f"there {n}"), CHUNKS[n % 5]) for n in range(shots)]
    )
    found = ChunkScorer(lm, "tiny", tmp_path, head=head).scores(PAIRS)
    for (one, chunk), score in zip(PAIRS, found, strict=True):
        expected = score_token_by_token(lm, head + with_background(one, chunk), answer_text(one.answer))
        assert score.log_likelihood == pytest.approx(sum(expected), abs=1e-4)
        assert score.num_tokens == len(expected)


def test_what_was_scored_once_is_kept(tmp_path):
    calls = []

    def likes(prompt, continuation):
        calls.append((prompt, continuation))
        return -float(len(prompt))

    model = OracleModel(likes=likes)
    first = ChunkScorer(model, "a", tmp_path).scores([*PAIRS[:6], PAIRS[0]])
    assert first[0] == first[-1]
    assert len(calls) == 6
    again = ChunkScorer(OracleModel(), "a", tmp_path).scores(PAIRS[:6][::-1])  # has no answer ready
    assert again == first[:6][::-1]
    ChunkScorer(model, "a", tmp_path).scores(PAIRS[:8])
    assert len(calls) == 8
    ChunkScorer(model, "b", tmp_path).scores(PAIRS[:1])
    ChunkScorer(model, "a", tmp_path, head="Q: a\n\n").scores(PAIRS[:1])
    assert len(calls) == 10
    assert ChunkScorer(model, "a", tmp_path).scores([]) == []


def test_a_killed_run_loses_one_piece(tmp_path, monkeypatch):
    monkeypatch.setattr(chunk_scores, "_PIECE", 4)
    asked = []

    def likes(prompt, continuation):
        if len(asked) == 10:
            asked.append(None)
            raise KeyboardInterrupt
        asked.append(prompt)
        return -1.0

    with pytest.raises(KeyboardInterrupt):
        ChunkScorer(OracleModel(likes=likes), "a", tmp_path).scores(PAIRS)
    del asked[:]
    asked.extend([None] * 11)
    ChunkScorer(OracleModel(likes=likes), "a", tmp_path).scores(PAIRS)
    assert len(asked) - 11 == len(PAIRS) - 8


def test_chunks_that_several_examples_found_are_read_once(tmp_path):
    lm, shapes = tiny_lm("llama", max_batch_tokens=2000), []
    hook = lm.model.get_input_embeddings().register_forward_hook(lambda m, args, out: shapes.append(args[0].shape))
    pairs = [(example(f"number {n}, where?", "near"), chunk) for n in range(8) for chunk in CHUNKS]
    ChunkScorer(lm, "tiny", tmp_path).scores(pairs)
    hook.remove()
    whole = sum(len(prompt_ids(lm, with_background(*pair) + answer_text("near"))) for pair in pairs)
    assert sum(rows * tokens for rows, tokens in shapes) < 0.7 * whole


def test_what_does_not_fit_is_named(tmp_path):
    scorer = ChunkScorer(tiny_lm("llama"), "tiny", tmp_path)
    with pytest.raises(OctoberError, match=r"has \d+ tokens, more than the model's context of 2048"):
        scorer.scores([(EXAMPLES[0], "river " * 3000)])
    scorer._file.write_bytes(b"not a database" * 100)
    with pytest.raises(OctoberError, match=r"is damaged .* delete it, and scores are computed again"):
        scorer.scores(PAIRS)
