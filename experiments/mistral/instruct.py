"""Instruction fine-tuning (section 4): a base model before and after, on what it was not trained on.

Judged are the loss of the answers, whether an answer is the right one to the letter, whether it ends by itself, and
how long it is. The paper used sets of the hub; the one here is generated (`_instructions`), or a user's own.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from october.attention.mistral import Conversation, InstructSettings, MistralModel, chat_prompt, training_examples
from october.experiments.mistral._adapters import fine_tuned, language_model
from october.experiments.mistral._instructions import InstructionSet, generated, of_user
from october.experiments.mistral._quality_cells import gain_cell, share_cell
from october.files import content_hash
from october.language_models import ModelHandle
from october.reporting import Cell, Result, Row, new_figure, save_figure
from october.run import Run

Judged = dict[str, list[float]]  # by what is judged, a number for each question
BASE, TUNED = "base", "fine-tuned"
LOSS, EXACT, ENDED, LENGTH = "answer loss", "exact match", "answers that end", "tokens of an answer"
LAST_SHARE = 0.1  # of the steps, whose mean is the loss at the end of training


def instruct(
    model: ModelHandle,
    conversations: str | None,
    conversations_config: str | None,
    conversations_revision: str | None,
    split: str,
    num_training: PositiveInt,
    num_held_out: PositiveInt,
    learning_rate: PositiveFloat,
    num_epochs: PositiveInt,
    batch_size: PositiveInt,
    max_tokens: PositiveInt,
    lora_rank: PositiveInt | None,
    max_answer_tokens: PositiveInt,
    seeds: list[int],
    run: Run,
) -> Result:
    """Fine-tune a model on conversations, and judge its answers before and after.

    Args:
        model: A base model.
        conversations: A JSONL file, a folder or a data set on the hub; null generates them.
        conversations_config: Configuration of a folder or a data set, where it has several.
        conversations_revision: Branch, tag or commit on the hub.
        split: Of a folder or a data set.
        num_training: Conversations to learn from, the first ones.
        num_held_out: At most so many in each held-out set.
        learning_rate: The highest.
        num_epochs: Passes over the conversations.
        batch_size: Conversations of a step.
        max_tokens: Of the longest conversation.
        lora_rank: Of the adapters; null trains all weights.
        max_answer_tokens: Of an answer that does not end.
        seeds: Of the adapters and of the order of the conversations.
        run: The run.
    """
    if conversations is None:
        data = generated(num_training, num_held_out)
    else:
        place = {"config": conversations_config, "revision": conversations_revision}
        data = of_user(conversations, split, num_training, num_held_out, **place)
    settings = [
        InstructSettings(learning_rate, num_epochs, batch_size, 1, max_tokens, lora_rank, save_every=20, seed=seed)
        for seed in seeds
    ]

    def judged_before() -> dict[str, Judged]:
        base = language_model(model)
        training_examples(base.tokenizer, data.training, max_tokens)  # what is wrong with them comes out now
        return judged(base, data.held_out, max_answer_tokens)

    def losses_of(each: InstructSettings) -> list[float]:
        found: list[float] = fine_tuned(model, data.training, each).about["losses"]
        return found

    def judged_after(each: InstructSettings) -> dict[str, Judged]:
        tuned = language_model(model, fine_tuned(model, data.training, each).folder)
        return judged(tuned, data.held_out, max_answer_tokens)

    before = run.once(BASE, judged_before)
    losses, after = [], []
    for each in run.progress(settings, "fine-tuning"):
        losses.append(run.once(f"losses, seed {each.seed}", losses_of, each))
        after.append(run.once(f"{TUNED}, seed {each.seed}", judged_after, each))
        run.log({f"loss at the end, seed {each.seed}": at_the_end(losses[-1])})
    tuned = {name: mean_over_seeds([each[name] for each in after]) for name in before}
    return Result(
        rows=[training_row(data, losses), *answer_rows(before, tuned)],
        evidence=evidence_of(before, tuned),
        figures={"Loss while fine-tuning, and answers before and after": draw(run.figures, losses, before, tuned)},
        fingerprints={"conversations": fingerprint(data), model.name: model.fingerprint()},
    )


def judged(
    model: MistralModel, held_out: Mapping[str, Sequence[Conversation]], max_answer_tokens: int
) -> dict[str, Judged]:
    """Return what is judged of a model's answers to each set's last questions; all are asked together."""
    found = _judged(model, [each for listed in held_out.values() for each in listed], max_answer_tokens)
    by_set: dict[str, Judged] = {}
    first = 0
    for name, listed in held_out.items():
        by_set[name] = {what: values[first : first + len(listed)] for what, values in found.items()}
        first += len(listed)
    return by_set


def _judged(model: MistralModel, conversations: Sequence[Conversation], max_answer_tokens: int) -> Judged:
    end, special_tokens = model.tokenizer.eos_token, model.tokenizer.all_special_tokens
    asked = [Conversation(each.messages[:-1], each.source) for each in conversations]
    prompts = [chat_prompt(conversation, end=end, special_tokens=special_tokens) for conversation in asked]
    answers = [each.messages[-1].content for each in conversations]
    scores = model.score(prompts, [f" {answer}{end}" for answer in answers])
    completions = model.generate(prompts, max_new_tokens=max_answer_tokens)
    return {
        LOSS: [-score.total / len(score.token_ids) for score in scores],
        EXACT: [float(c.text.strip() == answer.strip()) for c, answer in zip(completions, answers, strict=True)],
        ENDED: [float(completion.finish_reason == "end") for completion in completions],
        LENGTH: [float(len(completion.token_ids)) for completion in completions],
    }


def mean_over_seeds(judged_by_seed: Sequence[Judged]) -> Judged:
    """Return each question's mean."""
    return {what: np.mean([each[what] for each in judged_by_seed], axis=0).tolist() for what in judged_by_seed[0]}


def at_the_end(losses: Sequence[float]) -> float:
    """Return the mean loss of the last steps."""
    return float(np.mean(losses[-max(1, round(LAST_SHARE * len(losses))) :]))


def training_row(data: InstructionSet, losses: Sequence[Sequence[float]]) -> Row:
    """Return the row that says what was trained on, and how far the loss fell."""
    cells = {
        "conversations": Cell(value=len(data.training)),
        "steps": Cell(value=len(losses[0])),
        "loss of the first step": Cell(value=float(np.mean([each[0] for each in losses])), unit="nats"),
        "loss at the end": Cell(value=float(np.mean([at_the_end(each) for each in losses])), unit="nats"),
    }
    return Row(name="training", cells=cells)


def answer_rows(before: Mapping[str, Judged], after: Mapping[str, Judged]) -> list[Row]:
    """Return, for each held-out set, a row of the base model and one of the fine-tuned."""
    rows = []
    for name in before:
        for stage, found in ((BASE, before[name]), (TUNED, after[name])):
            cells = {LOSS: share_cell(found[LOSS]).model_copy(update={"unit": "nats"})}
            cells |= {what: share_cell(found[what]) for what in (EXACT, ENDED, LENGTH)}
            if stage == TUNED:
                cells["exact match over base"] = gain_cell(found[EXACT], before[name][EXACT])
            rows.append(Row(name=f"{name}, {stage}", cells=cells))
    return rows


def evidence_of(before: Mapping[str, Judged], after: Mapping[str, Judged]) -> dict[str, Cell]:
    """Return what decides the claims: what fine-tuning gains on each held-out set, question by question."""
    evidence: dict[str, Cell] = {}
    for name in before:
        for what in (LOSS, EXACT, ENDED):
            evidence[f"{what}, {name}, fine-tuned over base"] = gain_cell(after[name][what], before[name][what])
    return evidence


def fingerprint(data: InstructionSet) -> str:
    """Return a hash of all conversations."""
    sets: dict[str, Any] = {"training": data.training, **data.held_out}
    return content_hash(
        {name: [[(m.role, m.content) for m in each.messages] for each in listed] for name, listed in sets.items()}
    )


def draw(
    folder: Path, losses: Sequence[Sequence[float]], before: Mapping[str, Judged], after: Mapping[str, Judged]
) -> Path:
    """Draw the loss of every step, and the share of right answers by held-out set before and after."""
    figure, (curve, bars) = new_figure(1, 2, width=10.4, height=3.9)
    for index, each in enumerate(losses):
        curve.plot(range(1, len(each) + 1), each, color="#0072B2", alpha=0.8, label=f"run {index + 1}")
    curve.set(xlabel="step", ylabel="loss (nats per learned token)", ylim=(0, None))
    width, places = 0.38, np.arange(len(before))
    for offset, (stage, found) in enumerate(((BASE, before), (TUNED, after))):
        cells = [share_cell(each[EXACT]) for each in found.values()]
        means = [float(cell.value or 0.0) for cell in cells]
        spread = np.array(
            [[mean - cell.bounds[0], cell.bounds[1] - mean] for mean, cell in zip(means, cells, strict=True)]
        )
        bars.bar(places + (offset - 0.5) * width, means, width, yerr=spread.T, label=stage, capsize=3)
    bars.set_xticks(places, list(before))
    bars.set(ylabel="right to the letter", ylim=(0, 1.03))
    bars.legend()
    return save_figure(figure, folder, "instruct")
