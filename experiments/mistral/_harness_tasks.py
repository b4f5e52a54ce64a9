"""The benchmarks of Table 2 as the engine has them, and four of our own that need no network.

The paper's pipeline is its own and not public. What differs beyond that: MATH is one greedy answer in place of the
majority of four, after worked examples of the training set that the engine draws; MBPP is the test set of the full
set, not of its hand-verified part.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from october.data import Country, load_countries
from october.errors import OctoberError
from october.evaluation import Benchmark
from october.files import write_whole

BOXED = r"\\boxed\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}"  # with two levels of braces inside
MATH = {  # the engine's examples tell the answer alone; here they are worked, and the last boxed expression counts
    "doc_to_text": "Problem:\n{{problem}}\n\nSolution:",
    "doc_to_target": "{{solution}}",
    "filter_list": [
        {
            "name": "boxed",
            "filter": [
                {"function": "regex", "regex_pattern": BOXED, "group_select": -1},
                {"function": "take_first"},
            ],
        }
    ],
    "generation_kwargs": {"until": ["Problem:"], "max_gen_toks": 1024, "do_sample": False},
}
TABLE_2 = {
    "MMLU": Benchmark("mmlu", "acc", 5),
    "HellaSwag": Benchmark("hellaswag", "acc_norm", 0),
    "WinoGrande": Benchmark("winogrande", "acc", 0),
    "PIQA": Benchmark("piqa", "acc_norm", 0),
    "ARC-e": Benchmark("arc_easy", "acc_norm", 0),
    "ARC-c": Benchmark("arc_challenge", "acc_norm", 0),
    "NQ": Benchmark("nq_open", "exact_match", 5),
    "TriviaQA": Benchmark("triviaqa", "exact_match", 5),
    "HumanEval": Benchmark("humaneval", "pass@1", 0, runs_code=True),
    "MBPP": Benchmark("mbpp", "pass_at_1", 3, runs_code=True),
    "MATH": Benchmark("hendrycks_math", "exact_match", 4, changes=MATH),
    "GSM8K": Benchmark("gsm8k_cot_self_consistency", "exact_match", 8, filter="maj@8", changes={"repeats": 8}),
}
FEWEST_PEOPLE = 100_000  # of a country that is asked about
NUM_EXAMPLES = 20  # countries that stand as few-shot examples and are never asked about
SHOTS = 5
Fact = Callable[[Country], str]
CHOICES: Mapping[str, tuple[str, Fact, int]] = {  # question, answer, choices
    "capital": ("What is the capital of {}?", lambda country: country.capital, 4),
    "continent": ("On which continent is {}?", lambda country: country.continent, 5),
    "currency": ("Which currency is used in {}?", lambda country: country.currency, 4),
}
WRITTEN = "capital, written"
OFFLINE = (*CHOICES, WRITTEN)


def benchmark_named(name: str, folder: Path) -> tuple[Benchmark, Path | None]:
    """Return a benchmark, and the folder of its data if it is one of ours, written there first.

    Raises:
        OctoberError: There is none of this name; or as `load_countries`.
    """
    if name in TABLE_2:
        return TABLE_2[name], None
    if name not in OFFLINE:
        raise OctoberError(f"benchmarks={name}: must be one of {', '.join((*OFFLINE, *TABLE_2))}")
    question, fact, num_choices = CHOICES["capital" if name == WRITTEN else name]
    rows = questions(question, fact, num_choices)
    place = folder / name.replace(", ", "_")
    place.mkdir(parents=True, exist_ok=True)
    for split, part in (("train", rows[:NUM_EXAMPLES]), ("test", rows[NUM_EXAMPLES:])):
        write_whole(place / f"{split}.jsonl", "".join(json.dumps(row) + "\n" for row in part))
    return (_written(name) if name == WRITTEN else _choice(name)), place


def chance(name: str) -> float:
    """Return the accuracy of guessing at one of our benchmarks."""
    return 0.0 if name == WRITTEN else 1 / CHOICES[name][2]


def questions(question: str, fact: Fact, num_choices: int) -> list[dict[str, object]]:
    """Return questions about countries, shuffled, each with its gold answer among others that are drawn."""
    draw = random.Random(0)
    countries = [country for country in load_countries(min_population=FEWEST_PEOPLE) if fact(country)]
    answers = sorted({fact(country) for country in countries})
    draw.shuffle(countries)
    return [
        _question(question.format(country.name), fact(country), answers, num_choices, draw) for country in countries
    ]


def _question(text: str, gold: str, answers: Sequence[str], num_choices: int, draw: random.Random) -> dict[str, object]:
    others = draw.sample([answer for answer in answers if answer != gold], num_choices - 1)
    choices = draw.sample([gold, *others], num_choices)
    return {"question": text, "choices": choices, "gold": choices.index(gold), "answer": gold}


def _choice(name: str) -> Benchmark:
    return Benchmark(
        {
            **_common(name),
            "output_type": "multiple_choice",
            "doc_to_choice": "choices",
            "doc_to_target": "gold",
            "metric_list": [{"metric": "acc"}],
        },
        "acc",
        num_fewshot=0,
    )


def _written(name: str) -> Benchmark:
    exact = {"metric": "exact_match", "ignore_case": True, "aggregation": "mean", "higher_is_better": True}
    return Benchmark(
        {
            **_common(name),
            "output_type": "generate_until",
            "doc_to_target": "{{answer}}",
            "generation_kwargs": {"until": ["\n", "."], "max_gen_toks": 16, "do_sample": False},
            "filter_list": [
                {"name": "text", "filter": [{"function": "remove_whitespace"}, {"function": "take_first"}]}
            ],
            "metric_list": [exact],
        },
        "exact_match",
        num_fewshot=SHOTS,
    )


def _common(name: str) -> dict[str, object]:
    return {
        "task": f"october_{name.replace(', ', '_')}",
        "dataset_path": "json",
        "training_split": "train",
        "test_split": "test",
        "doc_to_text": "Question: {{question}}\nAnswer:",
    }
