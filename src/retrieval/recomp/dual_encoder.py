"""Similarity of queries and sentences: <enc(x), enc(s)>, an inner product of two embeddings (section 3.1)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from ..embeddings import AnyEncoder, encode


class DualEncoder:
    """One encoder for queries and sentences, as in the paper, or one for each.

    Args:
        encoder: Of sentences, and of queries unless they have their own (as a handle of DRAGON+ has).
        query_encoder: Of queries, where it is no part of `encoder`.
    """

    def __init__(self, encoder: AnyEncoder, query_encoder: AnyEncoder | None = None) -> None:
        self.encoder = encoder
        self.query_encoder = encoder if query_encoder is None else query_encoder

    def similarities(
        self, queries: Sequence[str], candidates: Sequence[Sequence[str]]
    ) -> list[Float[np.ndarray, " candidates"]]:
        """Return the inner products of each query with its own candidates.

        Over all queries each distinct text is encoded once, texts of similar length together.

        Raises:
            OctoberError: A query is empty.
        """
        texts = list(dict.fromkeys(text for row in candidates for text in row))
        if not texts:
            return [np.zeros(0, dtype=np.float32) for _ in queries]
        of_query = encode(self.query_encoder, queries, query=True)
        of_text = encode(self.encoder, texts)
        place = {text: number for number, text in enumerate(texts)}
        return [of_text[[place[text] for text in row]] @ query for query, row in zip(of_query, candidates, strict=True)]
