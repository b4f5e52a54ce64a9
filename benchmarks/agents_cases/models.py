"""A random Llama of nine million parameters that keeps to the agents' format, whatever it says.

Each token is of a kind: the words of one place in a reply, or a label alone. An embedding is random numbers beside the
direction of its kind, and the head raises all tokens of the kind that comes next:

    Thought:  THOUGHT words  Action:  search[  ARGUMENT words  ]  Observation:        40 tokens, every reply

Which words come is the random network's doing and depends on the whole text. One head of the first layer is written by
hand: at 'Action:' it looks for the word ' enough', and where that stands ' finish[' comes instead of ' search['.
"""

from collections.abc import Iterator
from itertools import islice, pairwise, product
from string import ascii_lowercase
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers import models as tokenizer_models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

THOUGHT, ARGUMENT = 28, 8  # words of a reply
REPLY = THOUGHT + ARGUMENT + 4  # tokens
WORDS_OF_A_KIND = 64
ENOUGH = " enough"
VOCAB_SIZE, HIDDEN_SIZE, HEAD_DIM = 8192, 256, 64

_SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>"]
_LABELS = ["Question:", "\nQuestion:", "Thought:", "\nThought:", "\nAction:", "\nObservation:"]
_MARKS = [" search[", " finish[", "]", "\n", ENOUGH]
_ALONE = [*_SPECIAL, *_LABELS, *_MARKS]
_PIECES = r"\n?(?:Question|Thought|Action|Observation):| (?:search|finish)\[|\]|\n| ?[a-z]+|."
_WORDS = [f" {''.join(letters)}" for letters in islice(product(ascii_lowercase, repeat=3), VOCAB_SIZE - len(_ALONE))]

STOPS = ("\nObservation:", "\nQuestion:")
THOUGHT_WORDS = [_WORDS[place * WORDS_OF_A_KIND :][:WORDS_OF_A_KIND] for place in range(THOUGHT)]
ARGUMENT_WORDS = [_WORDS[(THOUGHT + place) * WORDS_OF_A_KIND :][:WORDS_OF_A_KIND] for place in range(ARGUMENT)]
FACT_WORDS = _WORDS[(THOUGHT + ARGUMENT) * WORDS_OF_A_KIND :]  # of questions and observations
KINDS = [*([token] for token in _ALONE), *THOUGHT_WORDS, *ARGUMENT_WORDS, FACT_WORDS]
VOCABULARY = [token for kind in KINDS for token in kind]

_FOLLOWS = 6.0  # how much the head raises what comes next
_FOUND = 4.0  # how much the head written by hand adds
_SHARP = 1.6  # its queries and keys
_SEED = 1  # of eight tried: its replies' two likeliest words stay furthest apart, so that rounding decides none


def tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer to which each word and label is one token, however texts are put together."""
    ids = {token: place for place, token in enumerate(VOCABULARY)}
    made = Tokenizer(tokenizer_models.WordLevel(ids, unk_token=_SPECIAL[-1]))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECES), "isolated")
    made.decoder = decoders.Fuse()
    made.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", ids["<bos>"])])
    names = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=made, **names)


@torch.no_grad()
def random_llama() -> LlamaForCausalLM:
    """Return the model: 6 layers 256 wide, 4 heads, feed-forward 688, vocabulary 8,192, float32."""
    torch.manual_seed(_SEED)
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=HIDDEN_SIZE,
        intermediate_size=688,
        num_hidden_layers=6,
        num_attention_heads=HIDDEN_SIZE // HEAD_DIM,
        max_position_embeddings=8192,
        initializer_range=0.06,
        **{f"{name}_token_id": _SPECIAL.index(f"<{name}>") for name in ("pad", "eos", "bos")},
    )
    model: Any = LlamaForCausalLM(config).eval()
    for layer in model.model.layers:  # sharp attention: what is written depends on single words far back
        for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj):
            projection.weight.mul_(3)
    directions = torch.linalg.qr(torch.randn(HIDDEN_SIZE, HIDDEN_SIZE))[0]
    found, others = directions[len(KINDS)], directions[len(KINDS) + 1 :]
    kinds = torch.stack([directions[place] for place, kind in enumerate(KINDS) for _ in kind])
    noise = torch.randn(VOCAB_SIZE, len(others)) @ others  # none in the directions that something looks for
    model.model.embed_tokens.weight.copy_(noise + 2 * HIDDEN_SIZE**0.5 * kinds)
    for place, following in _followers():
        first = VOCABULARY.index(KINDS[following][0])
        model.lm_head.weight[first : first + len(KINDS[following])] += _FOLLOWS * directions[place]
    model.lm_head.weight[VOCABULARY.index(" finish[")] += _FOLLOWS * found
    look_for(model.model.layers[0].self_attn, directions[_kind("\nAction:")], directions[_kind(ENOUGH)], found)
    return model


def look_for(attention: Any, asking: torch.Tensor, wanted: torch.Tensor, found: torch.Tensor) -> None:
    """Let the first head of a layer add `found` to tokens of direction `asking` behind one of direction `wanted`.

    It compares in the one dimension that rotary positions hardly turn: an eighth of a turn in some 6,000 tokens.
    """
    slowest = HEAD_DIM // 2 - 1
    for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
        projection.weight[:HEAD_DIM] = 0
    attention.o_proj.weight[:, :HEAD_DIM] = 0
    attention.q_proj.weight[slowest] = _SHARP * asking
    attention.k_proj.weight[slowest] = _SHARP * wanted
    attention.v_proj.weight[0] = wanted
    attention.o_proj.weight[:, 0] = _FOUND * found


def _kind(token: str) -> int:
    return KINDS.index([token])


def _followers() -> Iterator[tuple[int, int]]:
    """Yield which kind follows which."""
    thoughts = [KINDS.index(words) for words in THOUGHT_WORDS]
    arguments = [KINDS.index(words) for words in ARGUMENT_WORDS]
    search, finish, end = _kind(" search["), _kind(" finish["), _kind("]")
    chain = [*thoughts, _kind("\nAction:"), search, *arguments, end, _kind("\nObservation:")]
    yield from pairwise(chain)
    yield from ((_kind(label), thoughts[0]) for label in ("Thought:", "\nThought:"))
    yield finish, arguments[0]
