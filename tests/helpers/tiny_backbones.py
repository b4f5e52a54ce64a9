"""Tiny random networks and a tokenizer of single characters."""

import torch
from tokenizers import Tokenizer, models, processors
from transformers import (
    BertConfig,
    BertModel,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

SIZES = {"vocab_size": 260, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3}
HEADS = {"num_attention_heads": 2, "max_position_embeddings": 64}


def language_model(name):
    """A tiny random model with its head, the same for the same name."""
    torch.manual_seed(0)
    if name == "gemma3":
        config = Gemma3TextConfig(**SIZES, **HEADS, num_key_value_heads=1, head_dim=8, sliding_window=4)
        model = Gemma3ForCausalLM(config)
    elif name == "llama":
        model = LlamaForCausalLM(LlamaConfig(**SIZES, **HEADS, num_key_value_heads=1))
    else:
        model = GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES, **HEADS))
    with torch.no_grad():  # norms and biases that are not all ones and zeros
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def backbone(name):
    if name != "bert":
        return language_model(name).base_model
    torch.manual_seed(0)
    return BertModel(BertConfig(**SIZES, **HEADS)).eval()


def char_tokenizer(name="llama", padding_side="right"):
    """One token per character, BOS in front; for BERT also a token at the end."""
    vocabulary = {"<bos>": 0, "<pad>": 1, "<end>": 2, "<unk>": 3}
    vocabulary |= {chr(code): code - 28 for code in range(32, 256)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    ends = [("<bos>", 0), ("<end>", 2)]
    shape = "<bos> $A <end>" if name == "bert" else "<bos> $A"
    tokenizer.post_processor = processors.TemplateProcessing(single=shape, special_tokens=ends)
    special = {"bos_token": "<bos>", "pad_token": "<pad>", "eos_token": "<end>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side=padding_side, **special)
