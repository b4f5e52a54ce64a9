"""What holds for every paper's page."""

import re
from pathlib import Path

from october.reporting.benchmarks import benchmarks_by_name
from october.reporting.published import published_of
from october.reporting.readme import regenerated


def filled_without_records(paper, page, folder):
    """The page with its generated parts made anew, nothing recorded; every claim is then untested."""
    path = folder / "README.md"
    path.write_text(re.sub(r":start -->.*?<!--", ":start -->\n<!--", page, flags=re.DOTALL))
    published = published_of(paper)
    benchmarks = benchmarks_by_name(Path(__file__).parents[2] / "benchmarks", folder)
    (filled,) = regenerated([path], {paper: published}, [], benchmarks).values()
    assert f"0 of {len(published.claims)} hold; {len(published.claims)} not tested." in filled
    return filled


def dead_links(page, folder):
    """Links of a page in a folder that lead nowhere; there must be some that lead elsewhere than to the web."""
    links = re.findall(r"\]\((?!http)([^)#]+)\)", page)
    assert links
    return [link for link in links if not (folder / link).exists()]


def names_after_blocks(page, count):
    """Run a page's blocks of Python, so many, one after the other; return what they leave."""
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == count
    names = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    return names
