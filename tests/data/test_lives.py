"""Life spans in short descriptions: real ones, odd ones, and those that are no lives."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from october.data.lives import Life, century, life_of

LIVES = {
    "German composer (1685–1750)": Life(1685, 1750, False),
    "Emergence of a poet (1572-1637)": Life(1572, 1637, False),
    "Ancient Greek philosopher and polymath (384–322 BC)": Life(-384, -322, False),
    "Roman lyric poet (65–8 BC)": Life(-65, -8, False),
    "Roman poet (43 BC – AD 17/18)": Life(-43, 17, True),
    "Prophet (6 BC – AD 30)": Life(-6, 30, False),
    "Roman Stoic philosopher, statesman and dramatist (c. 4 BC–AD 65)": Life(-4, 65, True),
    "Germanic Cherusci chieftain (18/17 BC – AD 21)": Life(-18, 21, True),
    "Apostle of Jesus (6 – 100 AD)": Life(6, 100, False),
    "Jewish scholar and sage (c. 50 – c. 135 CE)": Life(50, 135, True),
    "Greek astronomer, geographer and mathematician (c. 190 – c. 120 BCE)": Life(-190, -120, True),
    "Arab physicist, mathematician and astronomer (c.965–c.1040)": Life(965, 1040, True),
    "Anglo-Saxon monk, writer and saint (672/3–735)": Life(672, 735, True),
    "Italian painter (c. 1477/88/90–1576)": Life(1477, 1576, True),
    "English physician and natural philosopher (1544?-1603)": Life(1544, 1603, True),
    "Semi-legendary Chan Buddhist master (trad. 638-713)": Life(638, 713, True),
    "Roman military commander and writer (AD23/24–79)": Life(23, 79, True),
    "Roman comic playwright (c. 195/185 BC–c.159 BC": Life(-195, -159, True),
    "Belgian chemist (1863–1944); inventor of Bakelite": Life(1863, 1944, False),
    "President of Nigeria from 1963 to 1966 (1904–1996)": Life(1904, 1996, False),
    "Duke of Apulia and Calabria (1015–1085)": Life(1015, 1085, False),
    "Hindu saint and poet (1511–1623)": Life(1511, 1623, False),
    "German-born diarist and Holocaust victim (1929–1945)": Life(1929, 1945, False),
}
NO_LIVES = [
    "",
    "Canadian writer (born 1939)",
    "Belarusian investigative journalist and essayist (Born: 1948)",
    "Lebanese singer (born 1934 or 1935)",
    "Muslim general (died 642)",
    "Queen of the British Iceni tribe (d. 60/61)",
    "King of the English from 927 to 939",
    "President of Cameroon since 1982",
    "19th King of Goguryeo (r. 391–413)",
    "Last Inca Emperor (ruled 1532–1533)",
    "Ancient Greek philosopher (fl. c. 500 BC)",
    "Prime Minister of Japan (2006–2007; 2012–2020)",
    "Prime Minister of France (1906–1909, 1917–1920)",
    "King of Wessex (871 – c. 886); King of the Anglo-Saxons (c. 886 – 899)",
    "Shia Imam (632–661) and Rashidun caliph (656–661)",
    "Emperor of Brazil (1822–31) and King of Portugal (1826)",
    "Leader of East Germany, 1971–1989",
    "Turco-Mongol conqueror (1320s–1405)",
    "Portuguese explorer (c. 1460s – 1524)",
    "German inventor and craftsman (c. 1393–1406 – 1468)",
    "Chinese Confucian philosopher (c. 310 – after 238 BCE)",
    "Athenian statesman and general (c.-495,-429)",
    "English rock band (1968–1980)",
    "American comedy team (1905–1949)",
    "Global conflict (1939–1945)",
    "Imperial dynasty of China (618–907)",
    "Historian who died before he was born (1750–1685)",
    "Emperor with the years the wrong way round (20–70 BC)",
]


@pytest.mark.parametrize("description", LIVES)
def test_lives(description: str) -> None:
    assert life_of(description) == LIVES[description]


@pytest.mark.parametrize("description", NO_LIVES)
def test_no_lives(description: str) -> None:
    assert life_of(description) is None


def test_a_span_that_the_article_calls_a_reign_is_no_life() -> None:
    description = "Sultan of the Ottoman Empire (1520–1566)"
    assert life_of(description, "He was the Ottoman sultan from 1520 to 1566.") is None
    assert life_of(description, "He was Sultan from 1520 until 1566.") is None
    assert life_of(description, "He was born in 1520.") == Life(1520, 1566, False)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.integers(-600, 2000).filter(bool), st.integers(15, 110))
def test_a_written_life_is_read_back(birth: int, age: int) -> None:
    death = birth + age + (birth < 0 <= birth + age)  # from 1 BC to AD 1 is one year
    spans = [f"{dated(birth)} – {dated(death)}"]
    if birth > 0:
        spans += [f"{birth}–{death}", f"{birth}-{death} CE"]
    if death < 0:
        spans += [f"{-birth}–{-death} BC", f"{-birth}–{-death} BCE"]
    for span in spans:
        assert life_of(f"Someone of note ({span})") == Life(birth, death, False)


def dated(year: int) -> str:
    return f"{-year} BC" if year < 0 else f"AD {year}"


def test_centuries_hold_a_hundred_years_each() -> None:
    names = ["1st", "2nd", "3rd", "4th", "5th", "6th", "7th", "8th", "9th", "10th", "11th", "12th", "13th"]
    for index, name in enumerate(names):
        for year in range(100 * index + 1, 100 * index + 101):
            assert century(year) == f"{name} century"
            assert century(-year) == f"{name} century BC"
    assert [century(1900), century(1901), century(2001)] == ["19th century", "20th century", "21st century"]
