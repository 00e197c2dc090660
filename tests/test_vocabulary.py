"""The project speaks the words of its field: no word of an earlier private vocabulary is left, quotations aside."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# as whole words, in any case
FORBIDDEN = (
    "picture pictures paint paints painted painter stylist stylists film films filmed filming hear heard "
    "learns lesson lessons widest trunk traced spike spikes spiky lattice lattices carried "
    "skeleton skeletons steadied steadying judge judges judged judging rival rivals restraint restraints "
    "rises rolling slots walks guess guesses guessed sheet sheets lessons whoever artefact artefacts "
    "keep_photo_colors keep_colors photo_channels noise_channels spike_weight grid_weight coarse_share trunk_share "
    "rise_steps final_rate predicted_start moving_parameters contact_sheet "
)
PATTERNS = [
    *(rf"\b{word}\b" for word in FORBIDDEN.split()),
    r"\beyes\b",
    r"\bhard look\b",
    r"\bgrid loss\b",
    r"\bwhat moves\b",
    r"\bgoes? along\b",
    r"\bto learn\b",
    r"\blearn a\b",
    r"\bbars? (?:is|was|were|not|of \d)\b",
    r"\b(?:Visit|Moment|Along|Workshop)\b",
    # British spelling
    r"\b\w*(?:ormalis|tylis|inimis|ptimis|nitialis|tandardis|rganis|haracteris|ummaris|ynthesis(?:e|ing)|ecognis)\w*\b",
    r"\b(?:colour|grey|centre|licence|behaviour|neighbour|favour|analyse|catalogue)\w*\b",
]
# names of other projects: PyAV's attributes, methods of Pillow and NumPy, claims of OpenID
ALLOWED = re.compile(r"guessed_rate|\.roll\b|\"picture\":")
IGNORED = {"__pycache__", "node_modules", "site"}
# words that are quoted, or that name the words themselves
EXEMPT = {"tests/test_vocabulary.py", "LICENSE"}
FOLDERS = ("metastyle_hub", "scripts", "space", "docs", "tests", ".")
SUFFIXES = (".py", ".md", ".css", ".toml", ".json", ".html", ".js")


def files() -> list[Path]:
    found = {path for folder in FOLDERS[:-1] for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES}
    found |= {path for path in ROOT.iterdir() if path.suffix in (".md", ".toml") or path.name == "Makefile"}
    own = (p for p in found if not IGNORED & set(p.parts))
    return sorted(p for p in own if str(p.relative_to(ROOT)) not in EXEMPT)


def test_there_are_files_to_check():
    assert len(files()) > 100


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_forbidden_word(path: Path):
    text = ALLOWED.sub("", path.read_text(encoding="utf-8"))
    if path.suffix == ".md":
        text = re.sub(r"[“\"][^”\"\n]{1,200}[”\"]", "", text)  # quotations
    found = [
        f"{number}: {match[0]}: {line.strip()[:90]}"
        for number, line in enumerate(text.splitlines(), 1)
        for pattern in PATTERNS
        if (match := re.search(pattern, line, re.I if pattern[2].islower() else 0))
    ]
    assert not found, "\n".join(found)
