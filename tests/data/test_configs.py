"""Every data config opens with its card and builds its handle, whose counts are those that the card states."""

import re
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from october.catalogue import choices, config_folder
from october.data import EntityHandle

NAMES = choices("data")
OFFLINE = ["airports", "us_cities", "wikipedia_people", "world_cities"]


def read(name: str) -> tuple[str, DictConfig]:
    path: Path = config_folder() / "data" / f"{name}.yaml"
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
    given: dict[str, Any] = {key: str(tmp_path) for key in OmegaConf.missing_keys(config)}
    for key in given:
        assert f"data.{key}=" in text
    handle = instantiate(OmegaConf.merge(config, given))
    assert isinstance(handle, EntityHandle)
    assert handle.name == name or name == "csv"


@pytest.mark.parametrize("name", OFFLINE)
def test_offline_sets_have_as_many_rows_as_their_card_says(name: str) -> None:
    text, config = read(name)
    stated = re.search(r"^# Rows: +([\d,]+)", text, flags=re.MULTILINE)
    assert stated is not None
    handle = instantiate(config)
    handle.check()
    assert len(handle.load()) == int(stated[1].replace(",", ""))
