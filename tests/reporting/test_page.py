import base64
import re
from urllib.parse import unquote

import pytest
from html_reader import Reader

from october.errors import OctoberError
from october.reporting import Cell, decide, store
from october.reporting.page import interval_plot, linked_pages, notice, render, write_markdown
from october.reporting.published import Claim


@pytest.fixture
def page(record, published, save_run, tmp_path):
    """The page with one recorded run, one of the user's own and one benchmark."""
    store.keep(store.run_at(save_run(record)), tmp_path / "results")
    mine = store.run_at(save_run(record.model_copy(update={"size": "small", "started": "2027"}), "mine", b"\x89PNG"))
    benchmark = tmp_path / "results" / "benchmarks" / "ridge.json"
    benchmark.parent.mkdir()
    benchmark.write_text(
        '{"environment": {}, "cases": [{"case": "n<1", "ours": 1.0, "peer": 2.5, "unit": "s", "ratio": 2.5,'
        ' "spread": [2, 3], "bar": ">=5", "met": false}]}'
    )
    return render({"coin": published}, store.recorded(tmp_path / "results"), [mine], benchmark.parent)


def test_the_page_asks_the_network_for_nothing_and_runs_nothing(page):
    reader = Reader(page)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(reader.tags)
    for tag, name, value in reader.attributes:
        assert not name.startswith("on")
        if name in ("src", "href", "srcset", "data", "action", "poster"):
            allowed = "https://arxiv.org/abs/0000.00000" if tag == "a" else None
            assert value.startswith(("#", "data:image/")) or value == allowed, (tag, name, value)
    style = re.search(r"<style>(.*)</style>", page, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style


def test_every_link_inside_leads_somewhere(page):
    attributes = Reader(page).attributes
    anchors = [value for _, name, value in attributes if name == "id"]
    assert len(anchors) == len(set(anchors))
    assert {value[1:] for _, name, value in attributes if name == "href" and value.startswith("#")} <= set(anchors)


def test_figures_are_inside(page):
    sources = [value for tag, name, value in Reader(page).attributes if (tag, name) == ("img", "src")]
    contents = [base64.b64decode(source.partition(",")[2]) for source in sources]
    assert contents == [b"<svg/>", b"\x89PNG"]
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)


def test_everything_is_escaped(page):
    assert "<die>" not in page
    assert "<b>the</b>" not in page
    assert "n<1" not in page
    assert "a &lt;die&gt;" in page
    assert "On Coins &amp; &lt;Dice&gt;" in page
    assert 'alt="Heads &#34;by&#34; throw"' in page


def test_claims_stand_with_their_verdicts(page):
    cards = re.findall(r'<article class="claim (\w+)">(.*?)</article>', page, re.DOTALL)
    assert [kind for kind, _ in cards] == ["holds", "fails"]
    texts = [Reader(card).text for _, card in cards]
    assert texts[0].startswith("✓ holds Heads come up | half <b>the</b> time. (Table 1)")
    assert "heads: 0.51 ± .02 (claim: > 0.4). The whole 95 % interval is above 0.4." in texts[0]
    assert texts[1].startswith("✗ does not hold Coins are heavy. (Section 3, unverified)")
    assert "grams: 7.5 ± .5 g (claim: > 9)" in texts[1]
    untested = (
        "Throws are quick. (Section 4, unverified) seconds: not measured (claim: < 1). No record of speed judged it."
    )
    assert f"1 claim not tested at this scale {untested}" in Reader(page).text
    totals = re.findall(r'<li class="(\w+)"><b>(\d+)</b>', page)
    assert totals == [("holds", "1"), ("fails", "1"), ("undecided", "0"), ("untested", "1")]


def test_tables_show_whose_numbers_they_are(page):
    text = Reader(page).text
    for words in (
        "Recorded · size=full · cpu",
        "Your run · size=small · cpu",
        "our coin 0.51 ± .02 7.50 – 30 scaled down",
        "a coin, Table 1 0.5 – 12,000 – published",
        "a bent coin, Table 1, unverified 0.61 – – – not run",
        "Figure 2 (number unverified) heads by century – not run Centuries are not at hand.",
        "n<1 1 s 2.5 s 2.50 2.50 >= 5 ✗ not met",
        "Licences and attributions",
        "size=full, 3 seeds, Abacus 3000, 2 threads, 12 min, commit 0123456789, 2026-01-02; at most 3.0 GiB",
    ):
        assert words in text, words
    assert page.count('<div class="run mine">') == 1


def test_a_paper_without_runs_says_how_to_run_it(published, tmp_path):
    text = Reader(render({"coin": published}, [], [], tmp_path)).text
    assert "Nothing of this paper was run yet: october experiment=coin/fairness runs its headline table." in text
    assert "3 – not tested at this scale" in text
    assert "Benchmarks" not in text


def test_no_papers(tmp_path):
    assert "No paper is described under experiments/ yet." in Reader(render({}, [], [], tmp_path)).text


def test_pages_of_their_own_are_linked_and_lie_beside(record, published, save_run, tmp_path):
    folder = save_run(record, page=b"<p>one</p>")
    mine = store.run_at(folder)
    store.keep(mine, tmp_path / "results")
    kept = store.recorded(tmp_path / "results")
    reader = Reader(render({"coin": published}, kept, [mine], tmp_path))
    links = [value for tag, name, value in reader.attributes if (tag, name) == ("a", "href")]
    pages = linked_pages(kept, [mine])
    assert list(pages) == [
        "pages/coin/fairness.cpu.full.each throw.html",
        "pages/coin/mine.fairness.cpu.full.each throw.html",
    ]
    assert [unquote(link) for link in links if link.startswith("pages")] == list(pages)
    assert [path.read_bytes() for path in pages.values()] == [b"<p>one</p>"] * 2
    assert reader.text.count("Each <throw>") == 2
    assert sum(tag == "img" for tag in reader.tags) == 2
    (folder / "figures" / "each throw.html").unlink()
    text = Reader(render({"coin": published}, [], [mine], tmp_path)).text
    assert "Each <throw> (its file is gone)" in text
    assert linked_pages([], [mine]) == {}


def test_a_lost_figure_is_named(record, published, save_run, tmp_path):
    folder = save_run(record)
    (folder / "figures" / "heads.svg").unlink()
    page = render({"coin": published}, [], [store.run_at(folder)], tmp_path)
    assert 'Heads "by" throw (its file is gone)' in Reader(page).text
    assert "<img" not in page


def test_a_broken_benchmark_gets_one_line(tmp_path):
    (tmp_path / "ridge.json").write_text("{")
    with pytest.raises(OctoberError, match=r"ridge\.json: not a benchmark's file"):
        render({}, [], [], tmp_path)


def plotted(direction, margin, value, interval):
    claim = Claim(
        name="c", statement="s", where="w", table="t", metric="m", direction=direction, margin=margin, sizes=["full"]
    )
    return interval_plot(decide(claim, {"m": Cell(value=value, interval=interval)}, "full"))


def test_an_interval_is_drawn_to_scale():
    at = plotted(">", 0.0, 0.75, (0.5, 1.0))
    assert at["margin"] < at["low"] < at["value"] < at["high"]
    assert at["value"] - at["low"] == pytest.approx(at["high"] - at["value"], abs=0.11)
    assert at["low"] - at["margin"] == pytest.approx((at["high"] - at["margin"]) / 2, abs=0.11)
    assert (at["side"], at["side"] + at["side_width"]) == (at["margin"], 240)
    below = plotted("<", 2.0, 0.75, (0.5, 1.0))
    assert (below["side"], below["side_width"]) == (0, below["margin"])
    assert below["margin"] > below["high"]


def test_open_and_empty_intervals_are_drawn_too():
    at = plotted(">", 0.0, 1.0, (0.5, float("inf")))
    assert at["high"] == 240
    point = plotted(">", 1.0, 1.0, (1.0, 1.0))
    assert point["margin"] == point["low"] == point["high"] == point["value"]
    assert plotted(">", 0.0, 1.0, None) is None


def test_markdown_files_hold_claims_and_tables(record, published, save_run, tmp_path):
    mine = store.run_at(save_run(record))
    (path,) = write_markdown(tmp_path / "report", {"coin": published}, [], [mine])
    text = path.read_text()
    assert path == tmp_path / "report" / "coin.md"
    assert text.startswith("# On Coins & <Dice>\n\n1 of 3 hold; **does not hold: heavy**; 1 not tested.\n\n| verdict")
    assert "## Your run: `coin/fairness`\n\n- Table 1: share of heads. What differs: An ordinary coin.\n\n| row" in text
    assert write_markdown(tmp_path / "report", {"coin": published}, [], []) == []


def test_the_notice_is_the_repository_s():
    import october

    path = next(iter(october.__path__))
    from pathlib import Path

    beside = Path(path).resolve().parent / "NOTICE"
    if beside.exists():
        assert notice() == beside.read_text(encoding="utf-8")
