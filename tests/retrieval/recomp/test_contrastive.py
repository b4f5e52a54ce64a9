import math

import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.util import dot_score

from october.retrieval.recomp import (
    ContrastiveExample,
    DistinctQueries,
    ListwiseLoss,
    linked_groups,
    listwise_columns,
    listwise_loss,
    triplet_columns,
)

EXAMPLES = [
    ContrastiveExample("Where is Rome?", "Rome is in Italy.", ("Rome is old.", "Oslo is far.", "x")),
    ContrastiveExample("Where is Oslo?", "Oslo is in Norway.", ("Oslo is cold.",)),
    ContrastiveExample("What is Lima?", "Lima is a city.", ("Lima is grey.", "Quito is high.")),
]


@given(
    scores=st.lists(st.lists(st.floats(-5, 5), min_size=4, max_size=4), min_size=1, max_size=5),
    data=st.data(),
)
def test_the_listwise_loss_equals_the_formula(scores, data):
    counts = [data.draw(st.integers(1, 3)) for _ in scores]
    expected = 0.0
    for row, count in zip(scores, counts, strict=True):
        below = math.exp(row[0]) + sum(math.exp(score) for score in row[1 : 1 + count])
        expected -= math.log(math.exp(row[0]) / below) / len(scores)
    found = listwise_loss(torch.tensor(scores, dtype=torch.float64), torch.tensor(counts))
    assert found.item() == pytest.approx(expected, abs=1e-9)


def test_gradients_of_the_listwise_loss_are_those_of_the_formula():
    torch.manual_seed(0)
    scores = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    counts = torch.tensor([1, 2, 3, 3, 1])
    assert torch.autograd.gradcheck(lambda s: listwise_loss(s, counts), (scores,))
    listwise_loss(scores, counts).backward()
    assert scores.grad[0, 2:].abs().sum() == 0
    assert (scores.grad[2] != 0).all()


def features(encoder, columns):
    """What a trainer hands to a loss."""
    return [encoder.preprocess(list(column)) for column in columns]


def inner(encoder, one, other):
    vectors = [encoder.encode([text], show_progress_bar=False)[0].astype("float64") for text in (one, other)]
    return float(vectors[0] @ vectors[1])


def test_the_listwise_module_sees_own_negatives_only(sentence_transformer):
    encoder = sentence_transformer.eval()
    columns = listwise_columns(EXAMPLES)
    labels = torch.tensor(columns.pop("label"))
    assert labels.tolist() == [3, 1, 2]
    for scale in (1.0, 0.05):
        found = ListwiseLoss(encoder, scale)(features(encoder, columns.values()), labels)
        expected = []
        for query, positive, negatives in EXAMPLES:
            logits = [scale * inner(encoder, query, text) for text in (positive, *negatives)]
            expected.append(math.log(sum(math.exp(logit - logits[0]) for logit in logits)))
        assert found.item() == pytest.approx(sum(expected) / 3, rel=1e-4)


def test_the_in_batch_loss_sees_all_positives_and_negatives(sentence_transformer):
    encoder = sentence_transformer.eval()
    columns = triplet_columns([EXAMPLES[0]._replace(negatives=("x",)), *EXAMPLES[1:]])
    assert columns["negative"] == ["x", "Oslo is cold.", "Lima is grey.", "Quito is high."]
    loss = MultipleNegativesRankingLoss(encoder, scale=0.05, similarity_fct=dot_score)
    found = loss(features(encoder, columns.values()), None)
    expected = []
    for row, query in enumerate(columns["query"]):
        logits = [0.05 * inner(encoder, query, text) for text in columns["positive"] + columns["negative"]]
        expected.append(math.log(sum(math.exp(logit - logits[row]) for logit in logits)))
    assert found.item() == pytest.approx(sum(expected) / 4, rel=1e-4)


TRIPLETS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=60)


@given(pairs=TRIPLETS, size=st.integers(1, 9), seed=st.integers(0, 3))
def test_no_batch_holds_a_query_or_a_positive_twice(pairs, size, seed):
    rows = {"query": [f"q{query}" for query, _ in pairs], "positive": [f"p{positive}" for _, positive in pairs]}
    sampler = DistinctQueries(Dataset.from_dict(rows | {"negative": ["n"] * len(pairs)}), size, seed=seed)
    epochs = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        assert sorted(row for batch in batches for row in batch) == list(range(len(pairs)))
        for batch in batches:
            assert 0 < len(batch) <= size
            for name in rows:
                texts = [rows[name][row] for row in batch]
                assert len(set(texts)) == len(texts)
        sampler.set_epoch(epoch)
        assert list(sampler) == batches
        epochs.append(batches)
    if len(pairs) > 12:
        assert epochs[0] != epochs[1]


def test_queries_whose_positive_is_the_same_fill_the_batches_of_the_listwise_loss():
    examples = [ContrastiveExample(f"q{n}", "" if n % 3 else f"p{n}", ("x", "y")) for n in range(77)]
    batches = list(DistinctQueries(Dataset.from_dict(listwise_columns(examples)), 16))
    assert len(batches) == 5
    assert sorted(row for batch in batches for row in batch) == list(range(77))
    twice = list(DistinctQueries(Dataset.from_dict(listwise_columns([*examples, *examples])), 16))
    assert len(twice) == 10
    assert all(len({row % 77 for row in batch}) == len(batch) for batch in twice)


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_the_batches_evenly(processes):
    from accelerate.data_loader import BatchSamplerShard

    rows = {"query": [f"q{place % 11}" for place in range(31)], "positive": [f"p{place}" for place in range(31)]}
    sampler = DistinctQueries(Dataset.from_dict(rows), 3, drop_last=True)
    batches = list(sampler)
    assert {len(batch) for batch in batches} == {2, 3}
    shards = [BatchSamplerShard(sampler, processes, rank, even_batches=False) for rank in range(processes)]
    count = len(batches) // processes
    assert [len(shard) for shard in shards] == [count] * processes
    assert [list(shard) for shard in shards] == [batches[rank::processes][:count] for rank in range(processes)]


@given(pairs=TRIPLETS)
def test_groups_are_what_is_linked(pairs):
    texts = [(str(query), str(positive)) for query, positive in pairs]
    groups = linked_groups(texts)
    assert sorted(row for group in groups for row in group) == list(range(len(pairs)))
    place = {row: number for number, group in enumerate(groups) for row in group}
    linked = [{row} for row in range(len(pairs))]
    for _ in pairs:  # the closure by brute force
        for row, one in enumerate(texts):
            for other, two in enumerate(texts):
                if one[0] == two[0] or one[1] == two[1]:
                    linked[row] |= linked[other]
    assert all((place[a] == place[b]) == (b in linked[a]) for a in range(len(pairs)) for b in range(len(pairs)))


def test_the_librarys_own_sampler_promises_batches_that_it_does_not_have():
    """Why there is one here: with many triplets of one query its epochs are longer than their stated length."""
    from sentence_transformers.base.sampler import NoDuplicatesBatchSampler

    rows = {"query": ["a"] * 5 + ["b"], "positive": ["p"] * 5 + ["r"], "negative": list("123456")}
    stock = NoDuplicatesBatchSampler(Dataset.from_dict(rows), batch_size=3, drop_last=False)
    assert len(stock) == 2
    assert len(list(stock)) == 5
    ours = DistinctQueries(Dataset.from_dict(rows), 3)
    assert len(ours) == len(list(ours)) == 5
