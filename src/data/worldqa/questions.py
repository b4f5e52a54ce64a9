"""Questions made of facts: about one fact, over two documents, comparing two facts, for yes or no."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

from ..documents import Question
from .facts import Fact, worded
from .names import SPLITS, fraction, share_of, split_of, with_article

# At most so many questions of a kind that has more facts, and so many about places of one country: what is asked for
# would else be China, India and Brazil.
LIMITS = {"country": 2_600, "population": 1_500, "time_zone": 1_800, "definition": 5_000}
PER_COUNTRY = {"country": 70, "population": 40, "time_zone": 40}
PER_BRIDGE = 12
NUM_BRIDGES, NUM_COMPARISONS, NUM_YES_NO = 3_000, 2_800, 2_300

_MARGIN = 1.25  # of areas and populations, whose numbers differ between sources
_COMPARED = {  # share of the comparisons, and whether the larger value wins
    "population": (0.4, True),
    "area": (0.1, True),
    "birth_year": (0.25, False),
    "death_year": (0.15, False),
    "atomic_number": (0.05, True),
    "work_year": (0.05, False),
}
_YES_NO_SHARES = {"country": 0.3, "same_country": 0.2, "border": 0.15, "birth_year": 0.25, "continent": 0.1}
_OVER_COUNTRY = ("capital", "currency", "continent", "language", "neighbour", "area")
_OVER_MAKER = ("birth_year", "death_year", "nationality")


class Facts:
    """All facts, by what questions look for."""

    def __init__(self, facts: Sequence[Fact], seed: int) -> None:
        self.seed = seed
        self.all = facts
        self.of_kind: dict[tuple[str, str], list[Fact]] = defaultdict(list)  # by kind and split
        self.of_country: dict[tuple[str, str], Fact] = {}  # of a country, by its code and the kind
        self.of_person: dict[tuple[str, str], Fact] = {}  # by entity and kind
        for fact in facts:
            self.of_kind[fact.kind, split_of(fact.entity, seed)].append(fact)
            if fact.document.startswith("country:"):
                self.of_country[fact.target, fact.kind] = fact
            if fact.document.startswith("lead:"):
                self.of_person[fact.entity, fact.kind] = fact

    def split(self, fact: Fact) -> str:
        """Return a fact's split."""
        return split_of(fact.entity, self.seed)

    def random(self, *key: object) -> random.Random:
        """Return a generator for one purpose."""
        return random.Random("\x1f".join(map(str, (self.seed, *key))))


def single_hop(facts: Facts) -> Iterator[Question]:
    """Return a question for every fact, within the limits of its kind."""
    taken: Counter[tuple[str, ...]] = Counter()
    for fact in sorted(facts.all, key=lambda fact: fraction(facts.seed, fact.kind, fact.document)):
        sort, country = (fact.kind, fact.evidence), (fact.kind, fact.evidence, fact.target)
        is_place = fact.evidence == "template"
        if is_place and taken[country] >= PER_COUNTRY.get(fact.kind, 10**9):
            continue
        if (is_place or fact.kind == "definition") and taken[sort] >= LIMITS.get(fact.kind, 10**9):
            continue
        taken.update([sort, country] if is_place else [sort])
        yield _question(facts, fact.kind, fact.kind, fact, [fact], fact.answers)


def bridges(facts: Facts) -> Iterator[Question]:
    """Return questions whose answer stands in the document of what another document names."""
    yield from _over_countries(facts)
    for maker in facts.all:
        if maker.kind != "creator":
            continue
        for kind in _OVER_MAKER:
            about = facts.of_person.get((maker.target, kind))
            if about and facts.split(about) == facts.split(maker):
                yield _question(facts, "bridge", f"bridge_{kind}", maker, [maker, about], about.answers)
    for capital in (fact for fact in facts.all if fact.kind == "capital"):
        zone = next((fact for fact in facts.of_kind["time_zone", facts.split(capital)] if _is(fact, capital)), None)
        if zone:
            yield _question(facts, "bridge", "bridge_time_zone", capital, [capital, zone], zone.answers)


def _is(zone: Fact, capital: Fact) -> bool:
    return zone.subject == capital.answers[0] and zone.target == capital.target


def _over_countries(facts: Facts) -> Iterator[Question]:
    taken: Counter[tuple[str, ...]] = Counter()
    cities = [fact for fact in facts.all if fact.kind == "country" and fact.document.startswith("city:")]
    for city in sorted(cities, key=lambda fact: fraction(facts.seed, "bridge", fact.document)):
        for kind in sorted(_OVER_COUNTRY, key=lambda kind: fraction(facts.seed, "bridge", kind, city.document))[:3]:
            about = facts.of_country.get((city.target, kind))
            split = facts.split(city)
            if about is None or facts.split(about) != split or about.answers[0] == city.subject:
                continue
            if taken[city.target, kind] < PER_BRIDGE and taken[split,] < share_of(split, NUM_BRIDGES):
                taken.update([(city.target, kind), (split,)])
                yield _question(facts, "bridge", f"bridge_{kind}", city, [city, about], about.answers)


def comparisons(facts: Facts) -> Iterator[Question]:
    """Return questions that name two and ask which is ahead; the order of the two tells nothing."""
    for kind, (share, larger_wins) in _COMPARED.items():
        for split in SPLITS:
            wanted = share_of(split, round(NUM_COMPARISONS * share))
            for first, second in _pairs(facts, kind, split, wanted, _far_apart):
                assert first.value is not None
                assert second.value is not None
                winner = first if (first.value > second.value) == larger_wins else second
                names = {"first": first.subject, "second": second.subject}
                yield _question(
                    facts, "comparison", f"comparison_{kind}", first, [first, second], _plain(winner.subject), **names
                )


def _far_apart(first: Fact, second: Fact) -> bool:
    assert first.value is not None
    assert second.value is not None
    if first.kind in ("population", "area"):
        same_sort = first.document.split(":")[0] == second.document.split(":")[0]
        return same_sort and max(first.value, second.value) > _MARGIN * min(first.value, second.value)
    return first.value != second.value


def _pairs(
    facts: Facts, kind: str, split: str, wanted: int, fits: Callable[[Fact, Fact], bool]
) -> list[tuple[Fact, Fact]]:
    """Return pairs of facts of a kind, each pair once, each fact about equally often."""
    generator, pool = facts.random("pairs", kind, split), list(facts.of_kind[kind, split])
    pairs: dict[frozenset[str], tuple[Fact, Fact]] = {}
    for _ in range(40):
        generator.shuffle(pool)
        for first, second in list(pairwise(pool))[::2]:
            key = frozenset((first.document, second.document))
            if len(pairs) < wanted and first.entity != second.entity and key not in pairs and fits(first, second):
                pairs[key] = (first, second)
    return list(pairs.values())


def yes_no(facts: Facts) -> Iterator[Question]:
    """Return questions for yes or no, as many of the one as of the other up to chance."""
    for split in SPLITS:
        wanted = {kind: share_of(split, round(NUM_YES_NO * share)) for kind, share in _YES_NO_SHARES.items()}
        yield from _in_country(facts, split, wanted["country"])
        yield from _borders(facts, split, wanted["border"])
        yield from _same(facts, "country", "same_country", split, wanted["same_country"])
        yield from _same(facts, "continent", "continent", split, wanted["continent"])
        for first, second in _pairs(facts, "birth_year", split, wanted["birth_year"], _far_apart):
            assert first.value is not None
            assert second.value is not None
            yield _yes_no(facts, "birth_year", [first, second], first.value < second.value)


def _in_country(facts: Facts, split: str, wanted: int) -> Iterator[Question]:
    generator = facts.random("in country", split)
    cities = [fact for fact in facts.of_kind["country", split] if fact.document.startswith("city:")]
    names = {fact.target: fact.answers[0] for fact in cities}
    for city in generator.sample(cities, min(wanted, len(cities))):
        is_there = generator.random() < 0.5
        others = [name for code, name in names.items() if code != city.target]
        other = city.answers[0] if is_there else generator.choice(others)
        yield _yes_no(facts, "country", [city], is_there, other=with_article(other))


def _borders(facts: Facts, split: str, wanted: int) -> Iterator[Question]:
    generator = facts.random("borders", split)
    countries = facts.of_kind["neighbour", split]
    done: set[frozenset[str]] = set()
    for _ in range(20 * wanted):
        if len(done) == wanted or len(countries) < 2:
            return
        country, is_neighbour = generator.choice(countries), generator.random() < 0.5
        near = [other for other in countries if other.subject.removeprefix("the ") in country.answers]
        far = [other for other in countries if other not in near and other is not country]
        if not (options := near if is_neighbour else far):
            continue
        other = generator.choice(options)
        pair = frozenset((country.document, other.document))
        if pair not in done:
            done.add(pair)
            yield _yes_no(facts, "border", [country, other], is_neighbour, other=other.subject)


def _same(facts: Facts, kind: str, name: str, split: str, wanted: int) -> Iterator[Question]:
    """Return questions whether two facts of a kind have the same answer: half of them do."""
    generator = facts.random("same", name, split)
    places = [fact for fact in facts.of_kind[kind, split] if fact.evidence == "template"]
    by_answer: dict[str, list[Fact]] = defaultdict(list)
    for fact in places:
        by_answer[fact.answers[0]].append(fact)
    done: set[frozenset[str]] = set()
    for _ in range(20 * wanted):
        if len(done) == wanted or len(by_answer) < 2:
            return
        first, alike = generator.choice(places), generator.random() < 0.5
        options = by_answer[first.answers[0]] if alike else places
        second = generator.choice(options)
        pair = frozenset((first.document, second.document))
        if first.entity != second.entity and pair not in done and (alike or second.answers[0] != first.answers[0]):
            done.add(pair)
            yield _yes_no(facts, name, [first, second], alike)


def _yes_no(facts: Facts, kind: str, gold: Sequence[Fact], answer: bool, **slots: str) -> Question:
    names = {"first": gold[0].subject, "second": gold[-1].subject, **slots}
    return _question(facts, "yes_no", f"yes_no_{kind}", gold[0], gold, ("yes",) if answer else ("no",), **names)


def _plain(subject: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys([subject.removeprefix("the "), subject]))


def _question(
    facts: Facts, kind: str, wording: str, asked: Fact, gold: Sequence[Fact], answers: Sequence[str], **slots: str
) -> Question:
    split = facts.split(asked)
    key = "\x1f".join([str(facts.seed), *(fact.document for fact in gold)])
    filled: Mapping[str, str] = {"subject": asked.subject, **asked.slots, **slots}
    return Question(
        id=f"{wording}:{'+'.join(dict.fromkeys(fact.document for fact in gold))}",
        text=worded("questions", wording, split, key, **filled),
        answers=tuple(dict.fromkeys(answers)),
        kind=kind,
        split=split,
        gold_documents=tuple(dict.fromkeys(fact.document for fact in gold)),
        gold_sentences=tuple(fact.sentence for fact in gold),
    )
