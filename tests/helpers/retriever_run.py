"""Small trainings of a retriever, also as processes of their own that are killed: `retriever_run.py KIND FOLDER STEP`
(step 0 kills none).

The language model is a function: it likes chunks with many of one letter, the letter that the answer is about.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from counting_encoder import Corpus
from instruct_run import kill_at
from oracle_model import OracleModel
from tiny_sentence_encoder import save_backbone

from october.language_models import EncoderHandle
from october.retrieval import EmbeddingCache, open_retriever
from october.retrieval.ra_dit import ChunkScorer, Example, RetrieverExample, RetrieverSettings, train_retriever

LETTERS = "abcdefghij"
SETTINGS = RetrieverSettings(
    k=4,
    score="mean_log_probability",
    lsr_temperature=1.0,
    learning_rate=5e-3,
    num_epochs=3,
    batch_size=4,
    warmup_steps=1,
    evaluate_every=3,
    best_by="kl",
    seed=3,
)
KINDS = {
    "plain": SETTINGS,
    "refreshed": replace(SETTINGS, refresh_every=2),
    "both": replace(SETTINGS, tuned="both", direction="lm_to_retriever", best_by="mrr"),
}


def likes(prompt, answer):
    chunk = prompt.partition("Background: ")[2].partition("\n\n")[0]
    return -20.0 / (1 + chunk.count(answer.strip()[0]))


def example(letter, way="Which has"):
    question = f"{way} {letter}{letter}{letter}?"
    return RetrieverExample(Example("made up", "open_qa", f"Question: {question}\nAnswer:", letter * 3, question))


EXAMPLES = [example(letter) for letter in LETTERS]
VALIDATION = [example(letter, "Where is") for letter in LETTERS[:6]]


def encoder_in(folder):
    backbone = Path(folder) / "backbone"
    path = backbone if backbone.exists() else save_backbone(backbone)
    return EncoderHandle("tiny", path=str(path), pooling="mean", device="cpu")


def retriever_in(folder, encoder=None):
    return open_retriever(Corpus(30), encoder or encoder_in(folder), words=25, cache_root=Path(folder), progress=False)


def run(kind, folder, examples=EXAMPLES, validation=VALIDATION):
    """Train in a folder, beside which lie the encoder, the index and the scores."""
    folder = Path(folder)
    encoder = encoder_in(folder.parent)
    scorer = ChunkScorer(OracleModel(likes=likes), "letters", folder.parent / "scores")
    cache = EmbeddingCache.of(encoder, folder.parent / "embeddings")
    retriever = retriever_in(folder.parent, encoder)
    return train_retriever(encoder, retriever, examples, validation, scorer, folder, KINDS[kind], cache=cache)


def judged():
    """Return a list to which each pair is added that this process judges from now on."""
    pairs, score = [], OracleModel.score

    def noted(model, prompts, continuations):
        pairs.extend(prompts)
        return score(model, prompts, continuations)

    OracleModel.score = noted
    return pairs


if __name__ == "__main__":
    torch.set_num_threads(1)
    kill_at(int(sys.argv[3]))
    pairs = judged()
    run(sys.argv[1], sys.argv[2])
    Path(f"{sys.argv[2]}-judged-{os.environ.get('RANK', '0')}").write_text(str(len(pairs)))
