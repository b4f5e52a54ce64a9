"""Invented countries and towns, questions over them, and an agent that searches there: for FireAct's tables."""

import re
from dataclasses import replace
from functools import partial

import tables
import tiny_tokenizers
from oracle_model import OracleModel
from tiny_hugging_face import tiny_model

from october.agents import AgentSettings
from october.agents.fireact import AgentTrainingSettings
from october.data.documents import CorpusHandle, Document, Question, QuestionHandle
from october.experiments.fireact._bench import Search
from october.experiments.fireact._teaching import ScriptedTeaching
from october.language_models import ModelHandle

COUNTRIES = {  # split: name, currency, capital
    "train": [("Fenland", "Reed", "Marsh"), ("Hillland", "Stone", "Peak"), ("Woodland", "Leaf", "Grove")],
    "dev": [("Sandland", "Grain", "Dune")],
    "test": [("Lakeland", "Pearl", "Shore"), ("Snowland", "Flake", "Drift"), ("Rockland", "Ore", "Cliff")],
}
TOWNS = ("Ash", "Birch", "Cedar", "Elm")


def towns(split):
    """Each town of a split with its country, and how many live there."""
    return [
        (f"{country[:3]}{town.lower()}", country, 1000 * (7 + 5 * place) + number)
        for number, (country, _, _) in enumerate(COUNTRIES[split])
        for place, town in enumerate(TOWNS)
    ]


class Towns(QuestionHandle):
    """Two-hop questions, comparisons, and questions for yes or no, named as worldqa's are."""

    name = "worldqa"

    def check(self):
        pass

    def load(self, split):
        known = {name: (currency, capital) for name, currency, capital in COUNTRIES[split]}
        found = []
        for town, country, _ in towns(split):
            lies, gold = f"{town} lies in {country}.", (town, country)
            currency, capital = known[country]
            asked = f"What is the currency of the country of {town}?"
            said = f"The currency is the {currency}."
            found.append(question("bridge_currency", split, asked, currency, gold, (lies, said)))
            asked, said = f"What is the capital of the country of {town}?", f"The capital is {capital}."
            found.append(question("bridge_capital", split, asked, capital, gold, (lies, said)))
            asked = f"Is {town} in {country}?"
            found.append(question("yes_no_country", split, asked, "yes", (town,), (lies,)))
        pairs = zip(towns(split), towns(split)[1:], strict=False)
        for (first, _, few), (second, _, many) in pairs:
            asked, right = f"Which has more inhabitants, {first} or {second}?", first if few > many else second
            said = (f"It has {few:,} inhabitants.", f"It has {many:,} inhabitants.")
            found.append(question("comparison_population", split, asked, right, (first, second), said))
        return found

    def fingerprint(self):
        return "towns"


def question(composition, split, text, answer, documents, sentences):
    name = f"{composition}:{'+'.join(documents)}"
    kind = next(kind for kind in ("bridge", "comparison", "yes_no") if composition.startswith(kind))
    return Question(name, text, (answer,), kind, split, documents, sentences)


class Lands(CorpusHandle):
    """A document about each country and each town."""

    name = "lands"

    def check(self):
        pass

    def documents(self):
        for split, some in COUNTRIES.items():
            for name, currency, capital in some:
                text = f"The currency is the {currency}. The capital is {capital}. It rains in {name}."
                yield Document(name, name, text, "made up")
            for town, country, people in towns(split):
                yield Document(town, town, f"{town} lies in {country}. It has {people:,} inhabitants.", "made up")

    def fingerprint(self):
        return "lands"


def reply(prompt, tuned):
    """Search for the town's country, then for what is asked of it, then answer; who is not tuned answers half of them.

    Where nothing is found it answers that it does not know. Of other questions it knows nothing, tuned or not.
    """
    marker = "### Instruction:\n" if "### Instruction:" in prompt else "Question: "
    own = prompt.rpartition(marker)[2]
    if prompt.endswith("Answer:"):
        return " Pearl"
    asked = re.match(r"What is the (\w+) of the country of (\w+)\?", own)
    told = re.findall(r"Observation: (.*)", own)
    if asked is None or (not tuned and asked[2][-1] == "h"):  # of Ash and Birch
        return " hm\nAction: finish[yes]"
    if not told:
        return f" The country first.\nAction: search[{asked[2]} country lies in]"
    patterns = (r" lies in (\w+)", rf"{asked[1]} is (?:the )?(\w+)")
    found = re.search(patterns[len(told) - 1], told[-1])
    if found is None:
        return " hm\nAction: finish[unknown]"
    if len(told) == 1:
        return f" It is {found[1]}.\nAction: search[{found[1]} {asked[1]}]"
    return f" So.\nAction: finish[{found[1]}]"


class Reader(OracleModel):
    """One that says how many words it reads."""

    def generate(self, prompts, **options):
        pairs = zip(prompts, super().generate(prompts, **options), strict=True)
        return [replace(completion, num_prompt_tokens=len(prompt.split())) for prompt, completion in pairs]


def acting(monkeypatch):
    """Let all agents act by `reply`; those that were tuned leave a folder."""

    def language_model(agent):
        return Reader(lambda prompt: reply(prompt, agent.folder is not None))

    monkeypatch.setattr("october.experiments.fireact._agents.Agent.language_model", language_model)


def student(folder):
    """A handle on a tiny model with random weights that has room for a few trajectories."""
    tokenizer = tiny_tokenizers.sentencepiece_like()
    sizes = {"vocab_size": len(tokenizer), "bos_token_id": 2, "eos_token_id": 1, "max_position_embeddings": 4096}
    tiny_model("gemma3", "sdpa", **sizes).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return ModelHandle("student", path=str(folder), dtype="float32", device="cpu")


TRAINING = AgentTrainingSettings(
    learning_rate=1e-3, warmup_steps=0, num_epochs=1, batch_size=4, rows_at_once=2, max_tokens=600, lora_rank=2
)


def settings(model, **more):
    """Return the arguments of a table."""
    return {
        "model": model,
        "data": Towns(),
        "corpus": Lands(),
        "search": Search(),
        "compositions": ["bridge_currency"],
        "teaching": ScriptedTeaching(["bridge_capital"], {"react": 4}),
        "training": TRAINING,
        "agent": AgentSettings(max_rounds=3, max_new_tokens=8),
        "num_test": 8,
        "num_examples": 2,
        **more,
    }


ran = partial(tables.ran, "fireact")
claims_of = partial(tables.claims_of, "fireact")
