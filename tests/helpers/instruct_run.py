"""A small fine-tuning run, also as a process of its own that is killed at a step: `instruct_run.py FOLDER STEP`."""

import os
import signal
import sys

import tiny_tokenizers
import torch
from tiny_mistral import mistral

from october.attention.mistral import Conversation, InstructSettings, Message, fine_tune

SETTINGS = InstructSettings(learning_rate=1e-2, num_epochs=2, batch_size=2, save_every=2, lora_rank=3, seed=4)
QUESTIONS = {"What is it?": "A river.", "Where?": "In the old town, near the river.", "日本": "Tokyo", "x": "nothing."}


def conversations():
    pairs = [*QUESTIONS.items(), ("The capital of France?", "Paris")]
    one = [Conversation((Message("user", question), Message("assistant", answer))) for question, answer in pairs]
    turns = [Message(role, text) for pair in pairs[:2] for role, text in zip(("user", "assistant"), pair, strict=True)]
    return [*one, Conversation((Message("system", "Be brief."), *turns))]


def model_and_tokenizer():
    tokenizer = tiny_tokenizers.sentencepiece_like()
    return mistral(8, vocab_size=len(tokenizer), bos_token_id=2, eos_token_id=1), tokenizer


def kill_at(step):
    """Die without a word, as when the machine goes down, before the gradient of a step is computed."""
    from transformers import Trainer

    steps, training_step = [], Trainer.training_step

    def counting(trainer, *arguments, **more):
        steps.append(trainer.state.global_step)
        if len(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return training_step(trainer, *arguments, **more)

    Trainer.training_step = counting


if __name__ == "__main__":
    torch.set_num_threads(1)
    kill_at(int(sys.argv[2]))
    fine_tune(*model_and_tokenizer(), conversations(), sys.argv[1], SETTINGS)
