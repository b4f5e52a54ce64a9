"""A small fine-tuning of the language model, also as a process that is killed: `ra_dit_run.py FOLDER STEP`.

Started by torchrun without a step it runs to its end; the first process writes the losses beside the model.
"""

import json
import os
import sys
from pathlib import Path

import torch
from instruct_run import kill_at
from tiny_backbones import char_tokenizer, language_model

from october.retrieval.ra_dit import Instance, LanguageModelSettings, rendered, train_language_model

SETTINGS = LanguageModelSettings(
    learning_rate=1e-2,
    final_learning_rate=1e-3,
    warmup_steps=1,
    max_steps=6,
    batch_size=2,
    max_tokens=120,
    checkpoint_every=2,
    lora_rank=3,
    seed=4,
)
ANSWERS = {"what?": "a river", "where?": "in the old town, by the river", "who?": "Bo", "how?": "so", "why?": "no"}


def instances():
    """Five questions, the first three of them with two passages each, the last one without any."""
    examples = [rendered("open_qa", question, answer) for question, answer in ANSWERS.items()]
    found = [Instance(example, passage) for example in examples[:3] for passage in ("a b", "c " * number(example))]
    return [*found, Instance(examples[3], "p"), Instance(examples[4])]


def number(example):
    return 1 + len(example.answer) % 5


def validation():
    return [Instance(rendered("open_qa", "whose?", "hers"), "it is hers"), Instance(rendered("text", answer="Once."))]


def train(folder, model=None, **more):
    model = language_model("gemma3") if model is None else model
    return train_language_model(model, char_tokenizer(), instances(), folder, SETTINGS, validation=validation(), **more)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) > 2:
        kill_at(int(sys.argv[2]))
    trained = train(sys.argv[1])
    if os.environ.get("RANK") == "0":
        numbers = {"losses": trained.losses, "validated": trained.validated}
        (Path(sys.argv[1]) / "numbers.json").write_text(json.dumps(numbers))
