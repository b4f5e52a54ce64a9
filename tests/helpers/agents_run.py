"""Agents as a process that is killed after some replies: `agents_run.py JOURNAL REPLIES`; without a number it ends."""

import os
import signal
import sys

from oracle_model import OracleModel

from october.agents import AgentSettings, Prompting, ToolBox, run_agents
from october.data import Question

QUESTIONS = [Question(f"q{place}", f"question {place}", ("yes",), "made up", "test") for place in range(9)]


class Echo:
    name, usage = "search", "search[query]"

    def run(self, call):
        return f"about {call.argument}"


def reply(prompt):
    """Search as many times as the question's number says, then answer."""
    _, _, own = prompt.rpartition("Question: question ")
    done = own.count("Observation:")
    return f" {done}\nAction: " + ("finish[yes]" if done == int(own[0]) % 4 else f"search[{done}]")


def run(journal, model):
    settings = AgentSettings(num_slots=3)
    return run_agents(model, QUESTIONS, Prompting("react"), ToolBox([Echo()]), settings, journal=journal)


def killed_after(replies):
    left = [replies]

    def answer(prompt):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return reply(prompt)

    return answer


if __name__ == "__main__":
    run(sys.argv[1], OracleModel(killed_after(int(sys.argv[2]))))
