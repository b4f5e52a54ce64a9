import pytest
from hypothesis import given
from hypothesis import strategies as st

from october.errors import OctoberError
from october.retrieval.recomp import (
    LabelSource,
    ScoredExample,
    contrastive_example,
    scored_examples,
    sentence_candidates,
    training_set,
)


class CharacterScorer:
    """Likes candidates by how many of a letter they hold."""

    def __init__(self):
        self.requests = []

    def scores(self, requests):
        self.requests += requests
        return [[float(text.count(request.targets[0])) for text in request.candidates] for request in requests]

    def fingerprint(self):
        return "characters"


def sources(passages):
    return [
        LabelSource("Where is Rome?", ("t",), tuple(passages)),
        LabelSource("How long is it?", ("5",), tuple(passages[1:])),
        LabelSource("What?", ("i",), (passages[0],)),
    ]


@pytest.mark.parametrize("with_empty", [False, True])
@pytest.mark.parametrize("max_candidates", [1, 3, 20])
def test_candidates_are_the_encoders_best_and_all_are_judged(
    dual_encoder, passages, tmp_path, max_candidates, with_empty
):
    found = scored_examples(
        sources(passages),
        dual_encoder,
        CharacterScorer(),
        tmp_path,
        encoder_fingerprint="tiny",
        max_candidates=max_candidates,
        with_empty=with_empty,
        chunk_size=2,
    )
    for source, scored in zip(sources(passages), found, strict=True):
        texts = [candidate.text for candidate in sentence_candidates(source.documents)]
        similar = {text: float(dual_encoder.similarities([source.query], [[text]])[0][0]) for text in [*texts, ""]}
        best = sorted(texts, key=lambda text: -similar[text])[:max_candidates] + [""] * with_empty
        assert scored.query == source.query
        assert list(scored.candidates) == best
        assert list(scored.scores) == [text.count(source.targets[0]) for text in best]
        assert scored.similarities == pytest.approx([similar[text] for text in best], abs=1e-4)


def test_a_second_run_asks_nothing_and_another_scorer_asks_again(dual_encoder, passages, tmp_path):
    first, second = CharacterScorer(), CharacterScorer()
    options = {"encoder_fingerprint": "tiny", "chunk_size": 2}
    found = scored_examples(sources(passages), dual_encoder, first, tmp_path, **options)
    assert scored_examples(sources(passages), dual_encoder, second, tmp_path, **options) == found
    assert len(first.requests) == 3
    assert second.requests == []
    second.fingerprint = lambda: "others"
    scored_examples(sources(passages), dual_encoder, second, tmp_path, **options)
    assert len(second.requests) == 3


ROWS = st.lists(
    st.tuples(st.sampled_from([-3.0, -1.0, -0.5, 0.0]), st.floats(-1, 1), st.sampled_from(["", "a", "b", "c", "d"])),
    max_size=9,
)


@given(rows=ROWS, epsilon=st.sampled_from([0.0, 0.5, 1.0]), count=st.integers(1, 4))
def test_positives_and_negatives_equal_a_loop(rows, epsilon, count):
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    found = contrastive_example(
        ScoredExample("q", columns[2], columns[0], columns[1]), epsilon=epsilon, max_negatives=count
    )
    best = None
    for row in rows:
        if best is None or row[0] > best[0]:
            best = row
        elif row[0] == best[0]:
            better = row[2] == "" and best[2] != ""
            if better or ((row[2] == "") == (best[2] == "") and row[1] > best[1]):
                best = row
    pool = [row for row in rows if best[0] - row[0] > epsilon]
    if not pool:
        assert found is None
        return
    assert found.positive == best[2]
    assert len(found.negatives) == min(count, len(pool))
    similar = sorted((row[1] for row in pool), reverse=True)
    remaining = list(pool)
    for text, value in zip(found.negatives, similar, strict=False):
        remaining.remove(next(row for row in remaining if row[1] == value and row[2] == text))


def test_the_share_of_dropped_queries_is_reported():
    scored = [
        ScoredExample("a", ("x", "y", "z"), (1.0, 0.0, 0.0), (0.1, 0.2, 0.3)),
        ScoredExample("b", ("x", "y"), (1.0, 1.0), (0.1, 0.2)),
        ScoredExample("c", ("x", "y"), (0.0, 1.0), (0.1, 0.2)),
        ScoredExample("d", (), (), ()),
    ]
    found = training_set(scored)
    assert found.examples == [("a", "x", ("z", "y")), ("c", "y", ("x",))]
    assert found.share_dropped == 0.5
    assert found.mean_negatives == 1.5
    with pytest.raises(OctoberError, match="none of 1 queries has a candidate"):
        training_set(scored[1:2])
    with pytest.raises(OctoberError, match="epsilon=-1"):
        training_set(scored, epsilon=-1)


def test_bad_sources_are_named_before_anything_is_judged(dual_encoder, passages, tmp_path):
    scorer = CharacterScorer()
    with pytest.raises(OctoberError, match="has no documents"):
        scored_examples([LabelSource("q", ("a",), ())], dual_encoder, scorer, tmp_path, encoder_fingerprint="t")
    with pytest.raises(OctoberError, match="max_candidates=0"):
        scored_examples([], dual_encoder, scorer, tmp_path, encoder_fingerprint="t", max_candidates=0)
    assert scorer.requests == []
