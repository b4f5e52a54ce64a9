import pytest
from counting_encoder import documents

from october.errors import OctoberError
from october.retrieval import Passage, split_document
from october.retrieval.ra_dit import Example, corpus_examples, mixed_examples, split_chunk

PASSAGES = [passage for document in documents(60, words=80) for passage in split_document(document, 40)]
LONG = [passage for passage in PASSAGES if len(passage.text.split()) >= 20]
QUESTIONS = [Example("t", "open_qa", f"Question: {n}?\nAnswer:", str(n), f"{n}?") for n in range(50)]


def test_a_chunk_is_cut_in_two():
    found = split_chunk(Passage("d#0", "Title", "one two  three\nfour five", "s"))
    assert (found.example.instruction, found.example.query) == ("one two", "one two")
    assert found.example.answer == "three four five"
    assert found.hidden == ("d#0",)
    assert split_chunk(Passage("d#0", "", "one", "s")) is None


def test_chunks_are_drawn_by_seed_and_length():
    found = corpus_examples(PASSAGES, 12, seed=1)
    assert found == corpus_examples(PASSAGES, 12, seed=1)
    assert found != corpus_examples(PASSAGES, 12, seed=2)
    assert len({one.hidden for one in found}) == 12
    assert {one.hidden[0] for one in corpus_examples(PASSAGES, len(LONG))} == {passage.id for passage in LONG}


def test_texts_of_forbidden_documents_are_not_drawn_and_the_others_stay_in_their_order():
    free = corpus_examples(PASSAGES, len(LONG), seed=1)
    by_id, by_title = PASSAGES[0], PASSAGES[-1]
    forbidden = {by_id.document_id, by_title.title}
    hidden = {p.id for p in PASSAGES if p.document_id == by_id.document_id or p.title == by_title.title}
    left = [one for one in free if one.hidden[0] not in hidden]
    assert 0 < len(left) < len(free)
    assert corpus_examples(PASSAGES, len(left), seed=1, forbidden=forbidden) == left
    mixed = mixed_examples(PASSAGES, QUESTIONS, len(left), instruction_share=0.0, seed=1, forbidden=forbidden)
    assert {one.hidden for one in mixed} == {one.hidden for one in left}
    with pytest.raises(OctoberError, match=f"only {len(left)} .* those of 2 forbidden documents apart"):
        corpus_examples(PASSAGES, len(left) + 1, forbidden=forbidden)


def test_the_two_kinds_are_mixed_by_share():
    for share, wanted in ((0.05, 1), (0.5, 10), (0.0, 0)):
        found = mixed_examples(PASSAGES, QUESTIONS, 20, instruction_share=share)
        assert len(found) == 20
        instructions = [one for one in found if one.example.family == "open_qa"]
        assert len({one.example for one in instructions}) == len(instructions) == wanted
        assert all(not one.hidden for one in instructions)
    mixed = mixed_examples(PASSAGES, QUESTIONS, 20, instruction_share=0.5)
    families = [one.example.family for one in mixed]
    assert families != sorted(families)
    assert families != sorted(families, reverse=True)
    assert mixed_examples([], QUESTIONS, 5, instruction_share=1.0)[0].example in QUESTIONS


def test_bad_arguments_are_named():
    with pytest.raises(OctoberError, match=f"only {len(LONG)} passages have 20 words or more"):
        corpus_examples(PASSAGES, len(LONG) + 1)
    with pytest.raises(OctoberError, match="count=-1, min_words=20"):
        corpus_examples(PASSAGES, -1)
    with pytest.raises(OctoberError, match=r"instruction_share=1.5: must be from 0 to 1"):
        mixed_examples(PASSAGES, QUESTIONS, 5, instruction_share=1.5)
    with pytest.raises(OctoberError, match="of 200 examples wants 100 instruction examples; there are 50"):
        mixed_examples(PASSAGES, QUESTIONS, 200, instruction_share=0.5)
