"""Slots that take the next question as they fall free, against groups that wait for their slowest."""

from shared_cases.threads import threads

from agents_cases.models import random_llama
from agents_cases.stepping import house_lm
from agents_cases.tasks import Replies, Task, check, together
from october.attention import Transformer, decoder_from
from october.attention.mistral import pack_
from october.reporting.benchmarks import Case

TRAJECTORIES, SLOTS, MOST_STEPS = 88, 6, 11


def refilling_cases(divisor: int) -> list[Case]:
    """Return the case: as many questions of each number of steps, from 1 to 11, in a mixed order."""
    count = max(2 * SLOTS, TRAJECTORIES // divisor)
    steps = tuple(1 + place * 7 % MOST_STEPS for place in range(count))
    return [refilling_case(pack_(decoder_from(random_llama())), Task(steps), SLOTS)]


def refilling_case(decoder: Transformer, task: Task, num_slots: int) -> Case:
    """Return the case of one task."""
    steps = f"{min(task.steps)} to {max(task.steps)} steps"
    return Case(
        name=f"{len(task.steps)} trajectories of {steps}, {num_slots} slots refilled: against groups of {num_slots}",
        ours=lambda: together(house_lm(decoder), task, num_slots)[1],
        peer=lambda: in_groups(decoder, task, num_slots),
        bar=">=1.3",
        check=lambda ours, theirs: check(ours, theirs, task),
        peer_settings=f"the same library and its sessions; the next group begins when all have ended; {threads()}",
    )


def in_groups(decoder: Transformer, task: Task, num_slots: int) -> list[Replies]:
    """Return the replies of one group after the other."""
    lm = house_lm(decoder)
    for first in range(0, len(task.steps), num_slots):
        together(lm, task, num_slots, slice(first, first + num_slots))
    return lm.noted
