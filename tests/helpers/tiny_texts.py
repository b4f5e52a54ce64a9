"""Short documents about cities, a corpus of them, and the first four as a held-out text."""

from october.data import CorpusHandle, Document, LanguageModelingText

NAMES = ("Rome", "Oslo", "Lima", "Cairo", "Delhi", "Quito", "Paris", "Tokyo", "Accra", "Minsk", "Sofia", "Hanoi")
RIVERS = (
    "Tiber",
    "Aker",
    "Rimac",
    "Nile",
    "Yamuna",
    "Machangara",
    "Seine",
    "Sumida",
    "Odaw",
    "Svislach",
    "Perl",
    "Red",
)


def document(number):
    name, river, other = NAMES[number], RIVERS[number], NAMES[(number + 1) % len(NAMES)]
    text = f"{name} lies by the river {river}, near the old town. The tower of {name} is in the town. "
    return Document(f"d{number}", name, text + f"Trade with {other} began in the year {1100 + 7 * number}.", "test")


class Cities(CorpusHandle):
    name = "cities"

    def check(self):
        """Nothing can be missing."""

    def documents(self):
        return iter([document(number) for number in range(len(NAMES))])

    def fingerprint(self):
        return "cities"


class HeldOutCities(LanguageModelingText):
    name = "held-out cities"

    def check(self):
        """Nothing can be missing."""

    def load(self):
        return [document(number) for number in range(4)]
