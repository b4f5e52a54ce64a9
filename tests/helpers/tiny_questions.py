"""A town of invented people: questions, documents, and a model that reads what stands in front of a question."""

import re

from oracle_model import OracleHandle, OracleModel
from recomp_run import causal_student
from tiny_sentence_encoder import save_backbone

from october.data.documents import CorpusHandle, Document, Question, QuestionHandle
from october.language_models import EncoderHandle, ModelHandle

CITIES = ("Graz", "Lima", "Oslo", "Rome", "Bern", "Kiel", "Nice", "Cork")
NAMES = [
    f"{first} {last}" for first in ("Ada", "Bo", "Cleo", "Dan", "Eve") for last in ("Berg", "Kern", "Lund", "Voss")
]
SPLITS = {"train": NAMES[:10], "dev": NAMES[10:13], "test": NAMES[13:]}


def city_of(name):
    return CITIES[sum(map(ord, name)) % len(CITIES)]


def gold_of(name):
    return f"{name} was born in {city_of(name)}."


class People(QuestionHandle):
    """Where was somebody born, or was somebody born there? The last person of a split has no document."""

    name = "people"

    def check(self):
        pass

    def load(self, split):
        return [self.question(name, split, number) for number, name in enumerate(SPLITS[split])]

    @staticmethod
    def question(name, split, number):
        asked = f"Was {name} born in {city_of(name)}?" if number % 4 == 3 else f"Where was {name} born?"
        kind, answers = ("yes_no", ("yes",)) if number % 4 == 3 else ("birthplace", (city_of(name), "home"))
        known = () if name == SPLITS[split][-1] else (name,)
        return Question(name, asked, answers, kind, split, known, tuple(map(gold_of, known)))

    def fingerprint(self):
        return "people"


class Town(CorpusHandle):
    """A document about everybody but the last of each split, and some about nobody."""

    name = "town"

    def check(self):
        pass

    def documents(self):
        for names in SPLITS.values():
            for name in names[:-1]:
                text = f"{name} likes tea. {gold_of(name)} In winter {name} paints the sea."
                yield Document(name, name, text, "made up")
        for number in range(6):
            yield Document(f"other {number}", f"Hill {number}", f"Hill {number} is old. Nobody lives there.", "made up")

    def fingerprint(self):
        return "town"


def last_block(prompt):
    return prompt.rsplit("\n\n", 1)[-1]


def answer(prompt):
    """What the evidence says of the person, else of anybody, else the sea."""
    evidence, question = last_block(prompt).rsplit("Question:", 1)
    name = re.search(r"[wW]as (\w+ \w+) born", question)[1]
    born = dict(re.findall(r"(\w+ \w+) was born in (\w+)", evidence))
    if "Was" in question:
        return f" {'yes' if name in born else 'no'}"
    return f" {born.get(name) or next(iter(born.values()), 'the sea')}"


def likes(prompt, continuation):
    """A likelihood that falls with what is not told."""
    told = answer(prompt).strip() == continuation.strip()
    return -0.25 if told else -4.0 - 0.125 * (len(last_block(prompt)) % 7)


def reader():
    return OracleHandle(OracleModel(answer, likes))


def encoder(folder):
    return EncoderHandle("tiny", path=str(save_backbone(folder)), pooling="mean", device="cpu")


def student(folder):
    model, tokenizer = causal_student()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return ModelHandle("student", path=str(folder), dtype="float32", device="cpu")
