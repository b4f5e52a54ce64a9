"""The two systems that most tables compare: a model that is shown examples, and the same model after it was tuned."""

from typing import NamedTuple

from october.agents import Prompting
from october.agents.fireact import INSTRUCTED, AgentTrainingSettings
from october.experiments.fireact._agents import Agent, prompted, tuned_agent
from october.experiments.fireact._bench import Bench
from october.experiments.fireact._teaching import Teaching, check_first
from october.language_models import ModelHandle

PROMPTED, TUNED = "ReAct, prompted", "FireAct, fine-tuned"


class System(NamedTuple):
    """An agent, and what it is shown."""

    agent: Agent
    prompting: Prompting


def compared(
    model: ModelHandle, bench: Bench, teaching: Teaching, training: AgentTrainingSettings, num_examples: int
) -> dict[str, System]:
    """Return both systems by name; the model is tuned if that was not done yet.

    Raises:
        OctoberError: As `check_first`, before anything else, and `train_agent`.
    """
    check_first(bench, teaching, num_examples)
    examples = teaching.examples(bench, num_examples)
    tuned, _ = tuned_agent(model, teaching.trajectories(bench), training)
    return {
        PROMPTED: System(Agent(model), prompted("react", examples, bench)),
        TUNED: System(tuned, INSTRUCTED),
    }
