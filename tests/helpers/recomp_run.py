"""Small trainings of compressors, also as processes of their own that are killed: `recomp_run.py KIND FOLDER STEP`."""

import sys
from pathlib import Path

import tiny_tokenizers
import torch
from instruct_run import kill_at
from tiny_hugging_face import tiny_model
from tiny_sentence_encoder import save_backbone, sentence_encoder
from transformers import T5Config, T5ForConditionalGeneration

from october.retrieval import Passage
from october.retrieval.recomp import (
    AbstractiveSettings,
    ContrastiveExample,
    ExtractiveSettings,
    ScoredExample,
    TeacherRequest,
    train_causal,
    train_extractive,
    train_seq2seq,
)

NAMES = ("Rome", "Oslo", "Lima", "Cairo", "Delhi", "Quito", "Paris")
EXAMPLES = [
    ContrastiveExample(
        f"Where is {name}?",
        f"{name} is old.",
        tuple(f"{name} lies by the river {number}." for number in range(1 + place % 3)),
    )
    for place, name in enumerate(NAMES)
]
VALIDATION = [
    ScoredExample(f"Where is {name}?", (f"{name} lies by the river.", f"{name} is old."), (0.0, 1.0), (0.0, 0.0))
    for name in NAMES
]
REQUESTS = [
    TeacherRequest(f"Where is {name}?", (name,), (Passage(f"{name}#0", name, f"{name} lies by the river.", "test"),))
    for name in NAMES[:5]
]
SUMMARIES = [f"{name} lies by the river." if place % 2 else "" for place, name in enumerate(NAMES[:5])]
EXTRACTIVE = {"batch_size": 4, "num_epochs": 2, "learning_rate": 3e-3, "warmup_steps": 1, "evaluate_every": 2}
STUDENT = AbstractiveSettings(
    learning_rate=3e-2,
    num_epochs=2,
    batch_size=2,
    rows_at_once=2,
    warmup_steps=1,
    save_every=2,
    lora_rank=3,
    seed=4,
)


def extractive_settings(loss):
    return ExtractiveSettings(loss=loss, **EXTRACTIVE)


def causal_student():
    tokenizer = tiny_tokenizers.sentencepiece_like()
    model = tiny_model("gemma3", "sdpa", vocab_size=len(tokenizer), bos_token_id=2, eos_token_id=1)
    return model.eval(), tokenizer


def seq2seq_student(initializer_factor=1.0):
    tokenizer = tiny_tokenizers.sentencepiece_like()
    from tokenizers import processors

    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=16,
        d_kv=8,
        d_ff=24,
        num_layers=2,
        num_heads=2,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
        initializer_factor=initializer_factor,
        dropout_rate=0.1,
    )
    return T5ForConditionalGeneration(config).eval(), tokenizer


def run(kind, folder):
    folder = Path(folder)
    if kind == "causal":
        return train_causal(*causal_student(), REQUESTS, SUMMARIES, folder, STUDENT)
    if kind == "seq2seq":
        return train_seq2seq(*seq2seq_student(), REQUESTS, SUMMARIES, folder, STUDENT)
    backbone = folder.parent / "backbone"
    encoder = sentence_encoder(backbone if backbone.exists() else save_backbone(backbone))
    return train_extractive(encoder, EXAMPLES, VALIDATION, folder, extractive_settings(kind))


if __name__ == "__main__":
    torch.set_num_threads(1)
    kill_at(int(sys.argv[3]))
    run(sys.argv[1], sys.argv[2])
