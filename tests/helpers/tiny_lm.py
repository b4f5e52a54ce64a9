"""A tiny language model with random weights that reads any text."""

import tiny_tokenizers
from tiny_hugging_face import tiny_model

from october.language_models import TransformersLM


def tiny_lm(family, max_batch_tokens=300):
    """The same weights at every call; wide enough that passages matter."""
    tokenizer = tiny_tokenizers.sentencepiece_like()
    model = tiny_model(
        family, "sdpa", vocab_size=len(tokenizer), bos_token_id=2, eos_token_id=1, max_position_embeddings=2048
    )
    return TransformersLM(model, tokenizer, max_batch_tokens=max_batch_tokens)
