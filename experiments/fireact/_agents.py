"""What the tables compare: a model that is prompted, or tuned on trajectories, asked by some method with some tools.

Trajectories are kept by content in the data folder's `trajectories`, whatever table asks; a run that was killed goes on
with those that had ended.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from october.agents import AgentSettings, Prompting, ToolBox, ToolCall, Trajectory, few_shot, run_agents
from october.agents.fireact import AgentTrainingSettings, Selection, train_agent
from october.agents.trajectory import to_line
from october.attention import DecoderLM, decoder_from
from october.attention.mistral import pack_
from october.data.documents import Question
from october.errors import OctoberError
from october.experiments.fireact._bench import Bench, Noise
from october.files import content_hash, data_home
from october.language_models import LanguageModel, ModelHandle, ServedHandle, TransformersLM
from october.language_models.answer_training import trained_model
from october.language_models.generation import end_token_ids
from october.language_models.training_runs import Kept, trained_once

ONE_SEARCH = "one search, then read"  # what tables call `read_one_search`
READ_AT_ONCE = 3  # snippets of one search, where there is no second: one would hardly hold both facts
AGENT = "FireAct agent"  # what `trained_once` keeps it as


@dataclass(frozen=True)
class Agent:
    """A model that can be asked.

    Attributes:
        handle: The model.
        folder: Of what tuning left of it; None is the model as it is.
    """

    handle: ModelHandle | ServedHandle
    folder: Path | None = None

    def fingerprint(self) -> str:
        """Return what identifies it: tuned ones stand in a folder that is named by what decided them."""
        return content_hash([self.handle.fingerprint(), self.folder and self.folder.parent.name])

    def language_model(self) -> LanguageModel:
        """Return it, loaded anew; local models that the house decoder knows keep their caches between rounds."""
        if isinstance(self.handle, ServedHandle):
            return self.handle.language_model()
        network, tokenizer = self.handle.load()
        network = network if self.folder is None else trained_model(network, self.folder)
        at_once = self.handle.max_batch_tokens
        try:
            decoder, ends = pack_(decoder_from(network)), {*end_token_ids(network), tokenizer.eos_token_id}
            return DecoderLM(decoder, tokenizer, end_ids=sorted(ends), max_batch_tokens=at_once)
        except OctoberError:  # an architecture that it does not know
            return TransformersLM(network, tokenizer, max_batch_tokens=at_once)


class Agents:
    """Asks agents the questions of a bench.

    Args:
        bench: The questions and their tools.
        settings: How far agents may go.
    """

    def __init__(self, bench: Bench, settings: AgentSettings) -> None:
        self.bench = bench
        self.settings = settings
        self._loaded: dict[Agent, LanguageModel] = {}

    def at(self, bench: Bench) -> "Agents":
        """Return the same for another bench; what is in memory is shared."""
        other = Agents(bench, self.settings)
        other._loaded = self._loaded
        return other

    def ask(
        self,
        agent: Agent,
        prompting: Prompting,
        questions: Sequence[Question] | None = None,
        *,
        noise: Noise | None = None,
        kept: bool = True,
    ) -> list[Trajectory]:
        """Return what an agent does with questions, in their order.

        Of several processes that ask the same (torchrun's, or another table's) one does; the others wait for what is
        kept, and load no model for it.

        Args:
            agent: Is asked.
            prompting: What it is shown.
            questions: By default those of the bench.
            noise: Of its search.
            kept: Whether to look in the data folder first; where time is measured, that would be wrong.
        """
        questions = self.bench.questions if questions is None else questions
        identity = [agent.fingerprint(), self.bench.identity(noise)]
        asked = [[question.id, question.text, question.answers] for question in questions]
        what = [identity, asked, vars(prompting), {**asdict(self.settings), "num_slots": 0}]
        journal = data_home() / "trajectories" / f"{content_hash(what)}.jsonl"
        tools = self.bench.tools(noise)
        return run_agents(
            partial(self.loaded, agent),
            questions,
            prompting,
            tools,
            self.settings,
            reward=self.bench.reward,
            journal=journal if kept else None,
            identity=content_hash(identity),
        )

    def loaded(self, agent: Agent) -> LanguageModel:
        """Return an agent's model; one at a time is kept in memory."""
        if agent not in self._loaded:
            self._loaded.clear()
            self._loaded[agent] = agent.language_model()
        return self._loaded[agent]

    def read_one_search(self, agent: Agent, examples: Sequence[Trajectory]) -> list[Trajectory]:
        """Return answers after one search for the question itself, which finds `READ_AT_ONCE` snippets."""
        tools = self.bench.tools(snippets=READ_AT_ONCE)
        shown = [replace(each, question=_below_snippets(each.question, each.id, tools)) for each in examples]
        asked = [replace(each, text=_below_snippets(each.text, each.id, tools)) for each in self.bench.questions]
        made = self.ask(agent, few_shot("io", shown), asked)
        pairs = zip(made, self.bench.questions, strict=True)
        return [replace(each, question=question.text) for each, question in pairs]


def prompted(method: str, examples: Sequence[Trajectory], bench: Bench) -> Prompting:
    """Return a prompt of examples."""
    return few_shot(method, examples, usage=bench.tools().usage)  # type: ignore[arg-type]


def _below_snippets(text: str, place: str, tools: ToolBox) -> str:
    return f"{tools.run('search', ToolCall(text, place)).text}\n{text}"


def tuned_agent(model: ModelHandle, chosen: Selection, settings: AgentTrainingSettings) -> tuple[Agent, Kept]:
    """Return a model that was tuned on trajectories; from the data folder if it is there.

    `about` holds `trajectories`, `examples`, `split`, `too_long` and `losses` (of each step).

    Args:
        model: What tuning begins with.
        chosen: The trajectories.
        settings: How.

    Raises:
        OctoberError: As `train_agent`.
    """

    def train(scratch: Path) -> tuple[Path, dict[str, Any]]:
        network, tokenizer = replace(model, dtype="float32").load()
        trained = train_agent(network, tokenizer, chosen.kept, scratch, settings)
        return trained.folder, {
            "model": model.name,
            "trajectories": len(chosen.kept),
            "left_out": chosen.counts,
            "examples": len(trained.examples.examples),
            "split": trained.examples.num_split,
            "too_long": trained.examples.too_long,
            "losses": trained.losses,
        }

    lines = content_hash([to_line(trajectory) for trajectory in chosen.kept])
    kept = trained_once(AGENT, [model.fingerprint(), lines, asdict(settings)], train)
    tqdm.write(told(chosen, kept), file=sys.stderr)
    return Agent(model, kept.folder), kept


def told(chosen: Selection, kept: Kept) -> str:
    """Return one line on what a student learns from, and on what was left out and why."""
    reasons = {**chosen.counts, "too long": len(kept.about["too_long"])}
    left_out = ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count)
    return f"{AGENT}: learns from {len(chosen.kept)} trajectories; left out: {left_out or 'none'}"
