import pytest
import tiny_backbones


@pytest.fixture(scope="session")
def tokenizer():
    return tiny_backbones.char_tokenizer()


@pytest.fixture(scope="session")
def llama():
    return tiny_backbones.backbone("llama")


@pytest.fixture(scope="session")
def names():
    return ["Paris", "Rome", "X", "New York City", "Åre", "Llanfairpwllgwyngyll", "Oslo", "Bergen", "São Paulo"]


@pytest.fixture(scope="session")
def make():
    """The makers of tiny models, for tests that need more than one."""
    return tiny_backbones
