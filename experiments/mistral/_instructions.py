"""A small instruction set that is generated: questions about countries and about words, with their answers.

Three sets are held out: the trained wordings about countries and words of which no question was trained; such
questions in wordings that were not trained; and tasks that were not. A user's own set is divided instead, every tenth
conversation held out.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from october.attention.mistral import Conversation, Message, load_conversations
from october.data import load_countries
from october.errors import OctoberError

NEW_QUESTIONS, NEW_WORDING, NEW_TASKS = "new questions", "new wording", "new tasks"
ONE_HELD_OUT_OF = 10
FEWEST_PEOPLE = 100_000  # of a country that is asked about
NUM_WORDS = 3  # of a question about words
NUM_WORD_QUESTIONS = 600  # of each such task
_LISTED = (
    "apple river stone cloud garden window paper silver bridge candle forest mirror button harbour island "
    "ladder meadow needle orange pencil rabbit saddle timber valley winter yellow anchor basket copper dragon "
    "engine feather guitar hammer jacket kettle lemon marble napkin ocean pepper quilt ribbon shadow temple "
    "umbrella violin walnut autumn blanket cotton desert falcon ginger helmet insect jungle kitchen lantern "
    "magnet number oyster parrot rocket spider tunnel velvet wagon acorn bottle"
)
WORDS = _LISTED.split()


class Item(NamedTuple):
    """What a question is about (`{0}`, `{1}` … of its wording), and the answer."""

    parts: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class Task:
    """A kind of question.

    Attributes:
        wordings: The last is never trained.
        items: What it is asked about; every tenth is never trained.
        trained: Whether it is trained at all.
    """

    wordings: tuple[str, ...]
    items: list[Item]
    trained: bool = True


@dataclass(frozen=True)
class InstructionSet:
    """Conversations to learn from, and held-out ones by what is new about them."""

    training: list[Conversation]
    held_out: dict[str, list[Conversation]] = field(default_factory=dict)


def generated(num_training: int, num_held_out: int) -> InstructionSet:
    """Return the generated set, the same one every time; a larger `num_training` begins with a smaller one's.

    Args:
        num_training: Conversations to learn from.
        num_held_out: At most so many of each held-out set.

    Raises:
        OctoberError: There are not so many to learn from, or the package with countries is missing.
    """
    tasks = _tasks()
    trained = [task for task in tasks if task.trained]
    pairs_to_train = dict(pair for task in trained for pair in _asked(task, task.wordings[:-1], held_out=False))
    training = _shuffled(pairs_to_train.items())
    if num_training > len(training):
        raise OctoberError(f"num_training={num_training}: {len(training)} conversations can be generated")
    held_out = {
        NEW_QUESTIONS: (pair for task in trained for pair in _asked(task, task.wordings[:-1], held_out=True)),
        NEW_WORDING: (pair for task in trained for pair in _asked(task, task.wordings[-1:], held_out=True)),
        NEW_TASKS: (p for task in tasks if not task.trained for p in _asked(task, task.wordings, held_out=True)),
    }
    fresh = {name: [pair for pair in pairs if pair[0] not in pairs_to_train] for name, pairs in held_out.items()}
    return InstructionSet(
        training[:num_training], {name: _shuffled(pairs)[:num_held_out] for name, pairs in fresh.items()}
    )


def of_user(
    path: str,
    split: str,
    num_training: int,
    num_held_out: int,
    *,
    config: str | None = None,
    revision: str | None = None,
) -> InstructionSet:
    """Return a user's own set, of which every tenth conversation is held out.

    Args:
        path: As in `load_conversations`, like the split, the configuration and the revision.
        split: Of a folder or a data set.
        num_training: Conversations to learn from, the first ones.
        num_held_out: At most so many of those that are held out.
        config: Of a folder or a data set.
        revision: On the hub.

    Raises:
        OctoberError: It cannot be read, a conversation does not end with an answer, or there are fewer than ten.
    """
    conversations = load_conversations(path, split=split, config=config, revision=revision)
    for conversation in conversations:
        if conversation.messages[-1].role != "assistant":
            raise OctoberError(f"{conversation.source}: the last message must be the assistant's, to be learned")
    held_out = conversations[ONE_HELD_OUT_OF - 1 :: ONE_HELD_OUT_OF]
    if not held_out:
        raise OctoberError(f"conversations={path}: has {len(conversations)}; at least {ONE_HELD_OUT_OF} are needed")
    training = [each for index, each in enumerate(conversations) if (index + 1) % ONE_HELD_OUT_OF]
    return InstructionSet(training[:num_training], {NEW_QUESTIONS: held_out[:num_held_out]})


def _tasks() -> list[Task]:
    countries = load_countries(min_population=FEWEST_PEOPLE)
    capitals = [Item((country.name,), country.capital) for country in countries if country.capital]
    continents = [Item((country.name,), country.continent) for country in countries]
    currencies = [Item((country.name,), country.currency) for country in countries if country.currency]
    return [
        Task(
            ("What is the capital of {0}?", "Name the capital city of {0}.", "Tell me {0}'s capital."),
            capitals,
        ),
        Task(
            ("{0} is the capital of which country?", "Which country has {0} as its capital?", "Whose capital is {0}?"),
            [Item((item.answer,), item.parts[0]) for item in capitals],
        ),
        Task(
            ("On which continent is {0}?", "Name the continent of {0}.", "{0} belongs to which part of the world?"),
            continents,
        ),
        Task(
            ("Repeat these words: {0} {1} {2}", "Say again: {0} {1} {2}", "Copy what follows. {0} {1} {2}"),
            _about_words(lambda words: " ".join(words), seed=1),
        ),
        Task(
            ("Which word comes first? {0} {1} {2}", "Give the first word of: {0} {1} {2}", "{0} {1} {2}: its start?"),
            _about_words(lambda words: words[0], seed=2),
        ),
        Task(
            ("Write in capital letters: {0}", "Turn {0} into capitals.", "Shout the word {0}."),
            [Item((word,), word.upper()) for word in WORDS],
        ),
        Task(("Which money is used in {0}?", "What is the currency of {0}?"), currencies, trained=False),
        Task(
            ("Which word comes last? {0} {1} {2}", "Give the last word of: {0} {1} {2}"),
            _about_words(lambda words: words[-1], seed=3),
            trained=False,
        ),
    ]


def _about_words(answer: Callable[[Sequence[str]], str], seed: int) -> list[Item]:
    draw = random.Random(seed)
    drawn = [tuple(draw.sample(WORDS, NUM_WORDS)) for _ in range(NUM_WORD_QUESTIONS)]
    return [Item(words, answer(words)) for words in drawn]


def _asked(task: Task, wordings: Sequence[str], *, held_out: bool) -> Iterator[tuple[str, str]]:
    """Yield question and answer for each wording and each item that is (or is not) held out."""
    for index, item in enumerate(task.items):
        if ((index + 1) % ONE_HELD_OUT_OF == 0) == held_out:
            for wording in wordings:
                yield wording.format(*item.parts), item.answer


def _shuffled(pairs: Iterable[tuple[str, str]]) -> list[Conversation]:
    listed = list(pairs)
    random.Random(0).shuffle(listed)
    return [Conversation((Message("user", question), Message("assistant", answer))) for question, answer in listed]
