import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # tiny_models is also imported by a subprocess of a test
import tiny_models


@pytest.fixture(scope="session")
def tokenizer():
    return tiny_models.char_tokenizer()


@pytest.fixture(scope="session")
def llama():
    return tiny_models.backbone("llama")


@pytest.fixture(scope="session")
def names():
    return ["Paris", "Rome", "X", "New York City", "Åre", "Llanfairpwllgwyngyll", "Oslo", "Bergen", "São Paulo"]


@pytest.fixture(scope="session")
def make():
    """The makers of tiny models, for tests that need more than one."""
    return tiny_models
