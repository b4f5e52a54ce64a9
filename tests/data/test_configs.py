"""Every config of data and corpora opens with its card and builds its handle; counts are those that the card states."""

import re
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from october.catalogue import choices, config_folder
from october.configuration import composed
from october.data import CorpusHandle, EntityHandle, LanguageModelingText, QuestionHandle

NAMES = [f"{group}/{name}" for group in ("data", "corpus") for name in choices(group)]
OFFLINE = [
    f"data/{name}" for name in ("airports", "leads", "shakespeare", "us_cities", "wikipedia_people", "world_cities")
]
OFFLINE_CORPORA = [f"corpus/{name}" for name in ("leads", "shakespeare", "worldqa")]
HANDLES = {"data": (EntityHandle, QuestionHandle, LanguageModelingText), "corpus": (CorpusHandle,)}


def read(name: str) -> tuple[str, DictConfig]:
    path: Path = config_folder() / f"{name}.yaml"
    config = OmegaConf.load(path)
    assert isinstance(config, DictConfig)
    return path.read_text(encoding="utf-8"), config


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_what_how_much_whose_and_from_where(name: str) -> None:
    text, _ = read(name)
    fields = re.findall(r"^# (What|Rows|Licence|Needs): +\S", text, flags=re.MULTILINE)
    assert fields == ["What", "Rows", "Licence", "Needs"]
    assert text.startswith("# What:")


@pytest.mark.parametrize("name", NAMES)
def test_a_config_builds_its_handle_from_what_it_asks_for(name: str, tmp_path: Path) -> None:
    text, config = read(name)
    group, _, short = name.partition("/")
    given: dict[str, Any] = {key: str(tmp_path) for key in OmegaConf.missing_keys(config)}
    for key in given:
        assert f"{group}.{key}=" in text
    handle = instantiate(OmegaConf.merge(config, given))
    assert isinstance(handle, HANDLES[group])
    assert handle.name == short or short == "csv"


@pytest.mark.parametrize("name", [*OFFLINE, *OFFLINE_CORPORA])
def test_offline_sets_have_as_many_rows_as_their_card_says(name: str) -> None:
    text, config = read(name)
    stated = re.search(r"^# Rows: +([\d,]+)", text, flags=re.MULTILINE)
    assert stated is not None
    handle = instantiate(config)
    handle.check()
    rows = list(handle.documents()) if isinstance(handle, CorpusHandle) else handle.load()
    assert len(rows) == int(stated[1].replace(",", ""))


def test_worldqa_has_as_many_questions_as_its_card_says() -> None:
    text, config = read("data/worldqa")
    handle = instantiate(config)
    handle.check()
    assert f"# Rows:    {len(handle.all()):,} questions" in text


def test_a_question_set_can_be_chosen_on_the_command_line() -> None:
    config = composed(["data=worldqa", "corpus=worldqa"])
    assert (config.data._target_, config.corpus._target_) == (
        "october.data.worldqa.WorldQA",
        "october.data.worldqa.WorldQACorpus",
    )
    assert "corpus" not in composed([])
