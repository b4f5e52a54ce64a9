"""Many agents stepped together: every round is one batched reply of all that have not ended.

    slot 0   [prefix | question a | reply | observation | reply ]  finish -> the next question takes the slot
    slot 1   [prefix | question b | reply | observation | reply | observation | reply ...
    slot 2   [prefix | question c | reply ]  finish -> ...

Each slot has a session of the model: one that keeps caches encodes every token once, the prefix once for all. Tools of
a round are asked at once. What the model sees is always the trajectory in its text format: what it wrote too much is
taken out of the session, what it wrote wrongly is answered with a line that says so.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..data.documents import Question
from ..errors import OctoberError
from ..evaluation import exact_match
from ..files import content_hash
from ..language_models import Completion, LanguageModel, Session
from ..language_models.batching import progress_bar
from .journal import Journal
from .prompting import Prompting
from .react_format import parse_reply, render_field, render_step
from .tools import ToolAnswer, ToolBox, ToolCall
from .trajectory import FINISH, Action, Cost, End, Step, Trajectory, finished

_STOPS = ("\nObservation:", "\nQuestion:")
Reward = Callable[[str, Sequence[str]], float]


@dataclass(frozen=True)
class AgentSettings:
    """How far agents may go.

    Attributes:
        max_rounds: Steps of a trajectory; one that has not finished by then has no answer.
        max_new_tokens: Of one reply.
        num_slots: Trajectories at once. A model with caches must have room for all their tokens, or it encodes some
            again and again (`max_batch_tokens` of the house decoder: an eighth of slots times longest text).
        context: Tokens that the model can see; a trajectory that could outgrow them ends. None trusts that none does.
        temperature: 0 is greedy.
        top_p: As in `LanguageModel.generate`.
        seed: Of samples.

    Raises:
        OctoberError: A number is out of range.
    """

    max_rounds: int = 11
    max_new_tokens: int = 128
    num_slots: int = 32
    context: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("max_rounds", "max_new_tokens", "num_slots", "context"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise OctoberError(f"agent.{name}={value}: must be at least 1")


def run_agents(
    model: LanguageModel | Callable[[], LanguageModel],
    questions: Sequence[Question],
    prompting: Prompting,
    tools: ToolBox,
    settings: AgentSettings | None = None,
    *,
    reward: Reward | None = exact_match,
    journal: str | Path | None = None,
    identity: str = "",
) -> list[Trajectory]:
    """Return a trajectory for each question, in their order.

    With a greedy model they do not depend on how many run together, nor on whether the run was killed in between. Their
    problems are those of replies (`Problem`) and 'cut_off' (a reply of `max_new_tokens`), 'repeated_action' and
    'refused_action' (no such tool, or an argument that it does not take).

    Args:
        model: Any; one that keeps caches between turns is several times as fast. A function is called for the model
            when there is something to ask.
        questions: Their ids differ.
        prompting: What the model is shown.
        tools: What it may ask.
        settings: How far it may go.
        reward: From an answer and those that are right to what it is worth; no answer is worth 0. None judges nothing.
        journal: A file that takes up each trajectory as it ends; those that are there are not made again, only judged.
        identity: Of model and tools, for the journal, which refuses trajectories of others.

    Raises:
        OctoberError: Two questions of one id, a journal of another run or of a question with another text, or what the
            model raises.
    """
    settings = settings or AgentSettings()
    twice = [name for name, count in Counter(question.id for question in questions).items() if count > 1]
    if twice:
        raise OctoberError(f"questions: the id {twice[0]!r} occurs twice; ids must differ")
    key = [identity, vars(prompting), {**vars(settings), "num_slots": 0}, sorted(tools.tools), vars(tools.limits)]
    with Journal(journal, content_hash(key)) if journal is not None else nullcontext() as kept:
        done = _kept_and_judged(kept, questions, reward) if kept is not None else {}
        waiting = deque(question for question in questions if question.id not in done)
        if not waiting:
            return [done[question.id] for question in questions]
        asked = model if isinstance(model, LanguageModel) else model()
        agents = _Agents(asked, prompting, tools, settings, reward)
        with progress_bar(len(waiting), "trajectories") as bar:
            for trajectory in agents.run(waiting):
                done[trajectory.id] = trajectory
                if kept is not None:
                    kept.add(trajectory)
                bar.update(1)
    return [done[question.id] for question in questions]


def _kept_and_judged(kept: Journal, questions: Sequence[Question], reward: Reward | None) -> dict[str, Trajectory]:
    """Return the questions' trajectories in a journal by id; they are worth what this run's reward says.

    Raises:
        OctoberError: One is of a question of the same id with another text.
    """
    done = {}
    for question in questions:
        made = kept.finished.get(question.id)
        if made is None:
            continue
        if made.question != question.text:
            raise OctoberError(f"{kept.path}: its question {question.id!r} has another text; choose another journal")
        done[question.id] = _judged(made, question, reward)
    return done


def _judged(made: Trajectory, question: Question, reward: Reward | None) -> Trajectory:
    """Return a trajectory with what its answer is worth; no answer is worth 0."""
    if reward is None:
        return replace(made, reward=None)
    worth = 0.0 if made.answer is None else reward(made.answer, question.answers)
    return replace(made, reward=float(worth))


@dataclass
class _Slot:
    """A trajectory on its way.

    Attributes:
        question: What it is about.
        session: Its text so far, up to the step that is being written.
        opening: What of that step stands there before the model writes: 'Thought:', or a whole thought and 'Action:'.
        appended: What goes to the session before the next reply; ends with the opening.
    """

    question: Question
    session: Session
    opening: str
    appended: str
    started: float
    steps: list[Step] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    end: End | None = None


class _Agents:
    """The slots and what steps them."""

    def __init__(
        self,
        model: LanguageModel,
        prompting: Prompting,
        tools: ToolBox,
        settings: AgentSettings,
        reward: Reward | None,
    ) -> None:
        self._model = model
        self._prompting = prompting
        self._tools = tools
        self._settings = settings
        self._reward = reward

    def run(self, waiting: deque[Question]) -> Iterable[Trajectory]:
        """Yield trajectories as they end; a question is taken from the queue when a slot is free."""
        slots: list[_Slot] = []
        while slots or waiting:
            while waiting and len(slots) < self._settings.num_slots:
                slots.append(self._start(waiting.popleft()))
            self._round(slots)
            for slot in slots:
                if slot.end is not None:
                    yield self._trajectory(slot, slot.end)
            slots = [slot for slot in slots if slot.end is None]

    def _start(self, question: Question) -> _Slot:
        session, opening = self._model.start(self._prompting.prefix), self._prompting.opening(1)
        asked = self._prompting.question(question.text) + opening
        return _Slot(question, session, opening, asked, time.monotonic())

    def _round(self, slots: list[_Slot]) -> None:
        """Let the model write for all slots, and ask the tools that they name."""
        settings = self._settings
        completions = self._model.step(
            [slot.session for slot in slots],
            [slot.appended for slot in slots],
            max_new_tokens=settings.max_new_tokens,
            stop=("\n",) if self._prompting.method == "io" else _STOPS,
            temperature=settings.temperature,
            top_p=settings.top_p,
            seed=settings.seed,
        )
        asking = [slot for slot, completion in zip(slots, completions, strict=True) if self._read(slot, completion)]
        answers = self._tools.run_all([_call(slot) for slot in asking])
        for slot, answer in zip(asking, answers, strict=True):
            self._observe(slot, answer)
        for slot, completion in zip(slots, completions, strict=True):
            if slot.end is None and self._could_outgrow(slot, completion):
                slot.end = "context"

    def _read(self, slot: _Slot, completion: Completion) -> bool:
        """Take up a reply; return whether its action is one for the tools."""
        slot.counts.update(model_calls=1, generated_tokens=len(completion.token_ids))
        slot.counts["prompt_tokens"] = completion.num_prompt_tokens
        if completion.finish_reason == "length":
            slot.problems["cut_off"] += 1
        if self._prompting.method == "io":
            slot.steps.append(Step("", Action(FINISH, completion.text.strip())))
            slot.end = "finished"
            return False
        written = slot.opening + completion.text
        before = slot.session.text.removesuffix(written)
        reply = parse_reply(written)
        slot.problems.update(reply.problems)
        if reply.action is None and not slot.opening.endswith("\nAction:"):
            self._ask_for_action(slot, before, reply.thought)
            return False
        step = Step(reply.thought, reply.action)
        slot.session.text = before + render_step(step)  # without what the model wrote too much
        if step.action is not None and any(earlier.action == step.action for earlier in slot.steps):
            slot.problems["repeated_action"] += 1
        slot.steps.append(step)
        if reply.action is None:
            self._observe(slot, ToolAnswer(f"That is no action. Write {self._tools.usage}.", "no action", 0))
        elif reply.action.is_finish:
            slot.end = "finished"
        return reply.action is not None and slot.end is None

    def _ask_for_action(self, slot: _Slot, before: str, thought: str) -> None:
        """Let the model go on behind its thought, where an action belongs; once a round."""
        shown = render_field("Thought", thought)
        slot.session.text = before + shown
        slot.opening, slot.appended = f"{shown}\nAction:", "\nAction:"

    def _observe(self, slot: _Slot, answer: ToolAnswer) -> None:
        """Put an answer behind the last step, and prepare the next round."""
        last = slot.steps[-1]
        slot.steps[-1] = Step(last.thought, last.action, answer.text)
        slot.counts["tool_calls"] += answer.attempts > 0
        if answer.attempts and answer.failure not in (None, "refused"):
            slot.counts["tool_failures"] += 1
        elif answer.failure in ("refused", "no such tool"):
            slot.problems["refused_action"] += 1
        if len(slot.steps) >= self._settings.max_rounds:
            slot.end = "max_rounds"
            return
        slot.opening = self._prompting.opening(len(slot.steps) + 1)
        slot.appended = f"\n{render_field('Observation', answer.text)}\n{slot.opening}"

    def _could_outgrow(self, slot: _Slot, completion: Completion) -> bool:
        """Whether the next prompt and reply might not fit; no text has more tokens than bytes."""
        if self._settings.context is None:
            return False
        written = len(completion.token_ids) or self._settings.max_new_tokens
        tokens = completion.num_prompt_tokens + written + len(slot.appended.encode()) + self._settings.max_new_tokens
        return tokens > self._settings.context

    def _trajectory(self, slot: _Slot, end: End) -> Trajectory:
        cost = Cost(**slot.counts, seconds=time.monotonic() - slot.started)
        problems = dict(sorted(slot.problems.items()))
        question, method = slot.question, self._prompting.method
        made = finished(question.id, question.text, method, slot.steps, cost=cost, end=end, problems=problems)
        return _judged(made, question, self._reward)


def _call(slot: _Slot) -> tuple[str, ToolCall]:
    """Return what the last step asks for."""
    action = slot.steps[-1].action
    assert action is not None
    return action.name, ToolCall(action.argument, f"{slot.question.id}, step {len(slot.steps)}")
