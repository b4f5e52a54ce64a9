"""Logits and greedy tokens beside transformers: random Mistrals of every ratio of heads, and a pretrained model.

Ours goes through rolling buffers in chunks of every size; theirs sees each prompt whole, without any cache, and
generates with its own. Prompts of random models have 1 to 5 W tokens, that of the pretrained one more than its window.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from pydantic import PositiveInt

from october.data import wikipedia_documents, wikipedia_documents_fingerprint
from october.errors import OctoberError
from october.evaluation import exact_cell
from october.experiments.mistral._beside_transformers import (
    EVERY,
    NUM_HEADS,
    SMALL_VOCABULARY,
    Found,
    chunk_sizes,
    pretrained,
    random_models,
)
from october.experiments.mistral._common import Sizes
from october.files import content_hash
from october.language_models import ModelHandle
from october.reporting import Cell, Result, Row
from october.run import Run

DType = Literal["float32", "bfloat16"]
Key = tuple[str, int]  # a dtype, and query heads to a key head


def parity(
    model: ModelHandle,
    window: PositiveInt,
    lengths: Sizes,
    group_sizes: list[Literal[1, 2, 4, 8]],
    dtypes: list[DType],
    num_new_tokens: PositiveInt,
    document_length: PositiveInt,
    document_chunks: Sizes,
    document_dtypes: list[DType],
    seeds: list[int],
    run: Run,
) -> Result:
    """Compare with transformers.

    Args:
        model: The pretrained model.
        window: Of the random models.
        lengths: Tokens of their prompts.
        group_sizes: Their query heads to each key and value head.
        dtypes: Of their weights.
        num_new_tokens: Greedy tokens after each prompt.
        document_length: Tokens of the document that the pretrained model reads.
        document_chunks: Chunk sizes in which it reads it.
        document_dtypes: Of its weights.
        seeds: One random model and one document each.
        run: The run.

    Raises:
        OctoberError: The pretrained model is an encoder's, or there are fewer documents than a seed says.
    """
    documents = len(wikipedia_documents()[1])
    if model.kind != "causal_lm":
        raise OctoberError(f"model {model.name}: an encoder generates no text; choose a causal_lm")
    if not all(0 <= seed < documents for seed in seeds):
        raise OctoberError(f"seeds={seeds}: each chooses one of {documents} held-out documents, from 0 on")
    read = {
        dtype: [
            run.once(
                f"{model.name}, {dtype}, document {seed}",
                pretrained,
                *(model, dtype, seed, document_length, document_chunks, num_new_tokens),
            )
            for seed in run.progress(seeds, f"documents in {dtype}")
        ]
        for dtype in document_dtypes
    }
    keys = list(itertools.product(dtypes, group_sizes))
    random = {
        key: [
            run.once(
                f"{key[0]}, {key[1]} to 1, seed {seed}", random_models, *key, window, lengths, num_new_tokens, seed
            )
            for seed in seeds
        ]
        for key in run.progress(keys, "random models")
    }
    rows = [heads_row(key, found) for key, found in random.items()]
    rows += [chunk_row(name, random) for name in (*chunk_sizes(window), EVERY)]
    rows += [document_row(model.name, dtype, found) for dtype, found in read.items()]
    return Result(
        rows=rows,
        evidence=evidence(random, read),
        fingerprints={
            "random models": content_hash([window, lengths, NUM_HEADS, SMALL_VOCABULARY]),
            "documents": wikipedia_documents_fingerprint(),
            "model": model.fingerprint(),
        },
    )


def heads_row(key: Key, found: Sequence[Found]) -> Row:
    """Return the row of a ratio of heads: the largest difference of all seeds, lengths and chunk sizes."""
    cells = {"largest difference": exact_cell(apart(found)), **token_cells(found)}
    if key[0] != "float32":
        cells["ours from float32"] = exact_cell(max(each["ours"] for each in found))
        cells["theirs from float32"] = exact_cell(max(each["theirs"] for each in found))
    heads = f"{key[1]} query head{'s' * (key[1] > 1)} to 1"
    return Row(name=f"random Mistral, {key[0]}, {heads}", cells=cells)


def chunk_row(name: str, random: Mapping[Key, Sequence[Found]]) -> Row:
    """Return the row of a chunk size: the largest difference of all random models in float32."""
    found = [each["apart"][name] for (dtype, _), models in random.items() if dtype == "float32" for each in models]
    label = "prompts whole" if name == "whole" else f"chunks of {name}"
    cells = {"largest difference": exact_cell(max(found))} if found else {}
    return Row(name=f"random Mistral, float32, {label}", cells=cells)


def document_row(name: str, dtype: str, found: Sequence[Found]) -> Row:
    """Return the row of a pretrained model."""
    cells = {
        "largest difference": exact_cell(apart(found)),
        "over the largest logit": exact_cell(max(max(each["apart"].values()) / each["largest"] for each in found)),
        **token_cells(found),
    }
    return Row(name=f"{name}, {dtype}, {max(each['length'] for each in found):,} tokens", cells=cells)


def token_cells(found: Sequence[Found]) -> dict[str, Cell]:
    """Return how many greedy tokens were compared, and how many differ."""
    return {
        "greedy tokens": exact_cell(sum(each["tokens"] for each in found)),
        "that differ": exact_cell(sum(each["differing"] for each in found)),
    }


def apart(found: Iterable[Found]) -> float:
    """Return the largest difference of logits."""
    return max(value for each in found for value in each["apart"].values())


def evidence(random: Mapping[Key, Sequence[Found]], read: Mapping[str, Sequence[Found]]) -> dict[str, Cell]:
    """Return what decides the claims, all of it in float32."""
    models = [each for (dtype, _), found in random.items() if dtype == "float32" for each in found]
    decided = {"largest difference, random Mistral, float32": exact_cell(apart(models))} if models else {}
    compared = [*models, *read.get("float32", [])]
    if compared:
        decided["greedy tokens that differ, float32"] = exact_cell(sum(each["differing"] for each in compared))
    return decided
