"""A stand-in for Gemma-3-270M: a network of two narrow layers with random weights, and a tokenizer of the leads."""

import itertools

import tiny_tokenizers
from tiny_hugging_face import tiny_model

from october.data import Leads


def save(folder):
    """Save it in the hub's format; the folder is returned."""
    texts = [document.text for document in itertools.islice(Leads().documents(), 500)]
    tokenizer = tiny_tokenizers.sentencepiece_like(texts, vocab_size=4000)
    model = tiny_model(
        "gemma3", "sdpa", vocab_size=len(tokenizer), bos_token_id=2, eos_token_id=1, max_position_embeddings=32768
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def places(config, prefix=""):
    """The nodes of a config that stand for Gemma, as dotted keys."""
    if config.get("embedded") == "gemma3_270m":
        return [prefix]
    inner = {key: value for key, value in config.items() if isinstance(value, dict)}
    return [place for key, value in inner.items() for place in places(value, f"{prefix}.{key}".lstrip("."))]
