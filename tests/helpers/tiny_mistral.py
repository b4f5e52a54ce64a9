"""Tiny decoders with windows, and what they give when all tokens attend at once."""

from functools import lru_cache

import torch

from october.attention import DecoderConfig, Transformer

VOCABULARY = 29


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # whichever test asks first: others may want gradients
def decoder_of(windows, num_kv_heads=2, num_heads=4, dtype=torch.float64, head_dim=6):
    """A random decoder with one layer for each window, whose attention is far from uniform."""
    config = DecoderConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_layers=len(windows),
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        sliding_windows=windows,
    )
    decoder = Transformer(config, seed=1).to(dtype)
    for parameter in decoder.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(8)
    return decoder.eval()


@torch.inference_mode()
def whole(decoder, text):
    """The states of a text without any cache."""
    return decoder(torch.tensor([text]))[0]


@torch.inference_mode()
def feed(decoder, cache, pieces):
    """Feed rows of different lengths padded with noise, and return each row's states without the padding."""
    longest = max(len(piece) for piece in pieces)
    padded = [[*piece, *[VOCABULARY - 1] * (longest - len(piece))] for piece in pieces]
    hidden = decoder(torch.tensor(padded), cache=cache, new_lengths=[len(piece) for piece in pieces])
    return [hidden[row, : len(piece)] for row, piece in enumerate(pieces)]


def mistral(window, num_kv_heads=2, num_heads=8, vocab_size=61, **more):
    """A random `MistralForCausalLM`."""
    from transformers import MistralConfig, MistralForCausalLM  # slow; the processes of a ring do without

    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=48,
        num_attention_heads=num_heads,
        num_key_value_heads=num_kv_heads,
        sliding_window=window,
        **{
            "max_position_embeddings": 512,
            "initializer_range": 0.2,
            "head_dim": 8,
            "num_hidden_layers": 3,
            "pad_token_id": None,
            "eos_token_id": None,
            **more,
        },
    )
    return MistralForCausalLM(config).eval()


def texts_of(lengths, seed=0, vocab_size=VOCABULARY):
    """Random texts of these lengths."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, vocab_size, (length,), generator=generator).tolist() for length in lengths]
