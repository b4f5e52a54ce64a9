"""The real worldqa, made once for all tests, in a scratch folder."""

import pytest

from october.data import Document, Question
from october.data.worldqa import building


@pytest.fixture(scope="session")
def built() -> building.Built:
    return building.build(0)


@pytest.fixture(scope="session")
def questions(built: building.Built) -> list[Question]:
    return list(built.questions)


@pytest.fixture(scope="session")
def documents(built: building.Built) -> dict[str, Document]:
    return {document.id: document for document in built.documents}
