"""RingTrainer takes the same steps as Trainer in one process: losses, evaluation and final weights."""

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from accelerate.state import AcceleratorState, GradientState, PartialState
from tiny_hugging_face import drawn_tokens, tiny_model
from torch.utils.data import IterableDataset
from transformers import Trainer, TrainingArguments

from october.attention.ring_attention import RingTrainer
from october.errors import OctoberError

OPTIONS = ("optim", "gradient_accumulation_steps", "adam_epsilon")


class Texts(torch.utils.data.Dataset):
    """Texts of unequal lengths, some of their tokens without a label."""

    def __init__(self, count, first=0):
        self.rows = [self.row(first + index, 15 + (5 * index) % 7) for index in range(count)]

    @staticmethod
    def row(seed, length):
        tokens = drawn_tokens(seed, 1, length)[0]
        labels = tokens.clone()
        labels[seed % 5 : seed % 5 + 3] = -100
        return {"input_ids": tokens, "labels": labels}

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


def collate(rows):
    """Pad on the right."""
    length = max(len(row["input_ids"]) for row in rows)
    fills = {"input_ids": 0, "labels": -100}
    batch = {
        name: torch.stack(
            [torch.nn.functional.pad(row[name], (0, length - len(row[name])), value=fill) for row in rows]
        )
        for name, fill in fills.items()
    }
    lengths = torch.tensor([len(row["input_ids"]) for row in rows])
    return {**batch, "attention_mask": (torch.arange(length) < lengths[:, None]).long()}


def made(kind, folder, family="mistral", attention="ring", **settings):
    """A trainer with seven texts to learn from and five to evaluate on."""
    arguments = TrainingArguments(
        output_dir=folder,
        use_cpu=True,
        max_steps=3,
        per_device_train_batch_size=settings.pop("batch_size", 2),
        per_device_eval_batch_size=settings.pop("eval_batch_size", 2),
        learning_rate=0.02,
        logging_steps=1,
        logging_first_step=True,
        report_to="none",
        disable_tqdm=True,
        save_strategy=settings.pop("save_strategy", "no"),
        **{name: settings.pop(name) for name in list(settings) if name in OPTIONS},
    )
    model = tiny_model(family, attention)
    data = {"train_dataset": Texts(7), "eval_dataset": Texts(5, first=100), "data_collator": collate}
    return kind(model=model, args=arguments, **{**data, **settings})


def trained(kind, folder, **settings):
    """What training and evaluation leave: losses by step, the evaluation's loss, weights, files."""
    trainer = made(kind, folder, **settings)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    norms = [float(entry["grad_norm"]) for entry in trainer.state.log_history if "grad_norm" in entry]
    weights = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    return {"losses": losses, "norms": norms, "evaluation": trainer.evaluate()["eval_loss"], "weights": weights}


def as_launched(function):
    """Run as a launcher would have started this rank, and forget accelerate's state afterwards."""
    rank, world = str(dist.get_rank()), str(dist.get_world_size())
    launcher = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
    os.environ.update(launcher)
    try:
        return function()
    finally:
        for state in (AcceleratorState, GradientState, PartialState):
            state._shared_state.clear()
        for name in launcher:
            del os.environ[name]


def on_rank(folder, cases):
    def run():
        results = []
        for case in cases:
            settings = dict(case)
            if settings.pop("rings_of_two", False):
                settings["ring"] = [dist.new_group([0, 1]), dist.new_group([2, 3])][dist.get_rank() // 2]
            results.append(trained(RingTrainer, folder, **settings))
        return results

    return as_launched(run)


def alone(case, folder):
    return trained(Trainer, folder, attention="sdpa", **{k: v for k, v in case.items() if k != "layout"})


def compare(found, expected):
    for name in ("losses", "norms", "evaluation"):
        assert found[name] == pytest.approx(expected[name], rel=1e-5), name
    for name, weight in expected["weights"].items():
        error = (found["weights"][name] - weight).abs().max() / weight.abs().max()
        assert error <= 1e-5, (name, float(error))


CASES = [
    {"optim": "sgd", "layout": "zigzag"},
    {"optim": "sgd", "layout": "striped", "gradient_accumulation_steps": 2, "family": "gemma3"},
    {  # with Adam's usual epsilon, numbers whose gradient nearly vanishes would step by the sign of its rounding
        "optim": "adamw_torch",
        "adam_epsilon": 1e-3,
        "layout": "contiguous",
        "gradient_accumulation_steps": 3,
        "family": "llama",
    },
]


@pytest.mark.parametrize("world_size", [2, 3])
def test_steps_as_in_one_process(pool, tmp_path, world_size):
    results = pool(world_size).run(on_rank, str(tmp_path), CASES)
    for index, case in enumerate(CASES):
        expected = alone(case, str(tmp_path))
        assert len(expected["losses"]) == 3
        for rank in range(world_size):
            compare(results[rank][index], expected)


def test_two_rings_are_data_parallel(pool, tmp_path):
    """Evaluation goes text by text: as in any data parallel run, the last batch is filled up with other texts."""
    cases = [{"optim": "sgd", "batch_size": 1, "eval_batch_size": 1, "rings_of_two": True}]
    expected = trained(Trainer, str(tmp_path), attention="sdpa", optim="sgd", batch_size=2, eval_batch_size=1)
    for (found,) in pool(4).run(on_rank, str(tmp_path), cases):
        compare(found, expected)


def saved_on_rank(folder):
    def run():
        mine = Path(folder) / str(dist.get_rank())
        made(RingTrainer, str(mine), save_strategy="steps").train()
        return sorted(path.name for path in mine.rglob("*.safetensors"))

    return as_launched(run)


def test_only_rank_0_saves(pool, tmp_path):
    assert pool(2).run(saved_on_rank, str(tmp_path)) == [["model.safetensors"], []]


class Endless(IterableDataset):
    def __iter__(self):
        yield from Texts(3).rows


def endless_on_rank(folder):
    return as_launched(lambda: trained(RingTrainer, folder, train_dataset=Endless()))


def test_a_dataset_without_a_length_is_refused(pool, tmp_path):
    for outcome in pool(2).outcomes(endless_on_rank, str(tmp_path)):
        assert outcome.failure.startswith("dataset: a ring needs one with a length")


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"attention": "sdpa"}, 'attn_implementation="sdpa"'),
        ({"compute_metrics": len}, "compute_metrics"),
        ({"compute_loss_func": len}, "compute_loss_func"),
    ],
)
def test_what_a_ring_cannot_do_is_refused(tmp_path, settings, text):
    with pytest.raises(OctoberError, match=text):
        made(RingTrainer, str(tmp_path), **settings)


def test_predictions_and_batches_without_labels_are_refused(tmp_path):
    trainer = made(RingTrainer, str(tmp_path))
    with pytest.raises(OctoberError, match="predict: a rank has a part"):
        trainer.predict(Texts(2))
    with pytest.raises(OctoberError, match="must have labels to train on"):
        trainer.compute_loss(trainer.model, {"input_ids": drawn_tokens(0, 1, 5)})
