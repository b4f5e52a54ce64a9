"""Every command of the README and of the papers' pages is one that a reader can give: it composes, and binds."""

import re
import shlex
from pathlib import Path

import pytest
from hydra._internal.utils import get_args_parser

from october import configuration

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("experiments/*/README.md"))]
PLACEHOLDERS = {"=FOLDER": "=FireAct", "=URL": "=http://localhost:9/v1"}
LEAST = {"fireact": 8}  # commands that a page has; two for the others
COMMAND = re.compile(r"^(?:torchrun .*? -m )?october (?=.*experiment=)")


def commands(page):
    """The lines of a page's blocks that start an experiment, as their arguments."""
    text = page.read_text()
    for placeholder, value in PLACEHOLDERS.items():
        text = text.replace(placeholder, value)
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if COMMAND.match(line)]
    return [shlex.split(COMMAND.sub("", line), comments=True) for line in lines]


@pytest.mark.usefixtures("what_a_reader_has")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_every_command_of_a_page_binds(page):
    found = commands(page)
    assert len(found) >= LEAST.get(page.parent.name, 2)
    for arguments in found:
        options = get_args_parser().parse_args(arguments)
        configuration.check_command_line(options.overrides, multirun=options.multirun)
