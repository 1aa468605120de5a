"""What the documents say is so: their snippets run, their links lead somewhere, their lists are complete."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from genfast.samplers import names
from genfast.training import recipes

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SNIPPETS = [
    pytest.param(snippet, id=f"{document.name}-{number}")
    for document in DOCUMENTS
    for number, snippet in enumerate(re.findall(r"```python\n(.*?)```", document.read_text(), re.S))
]


@pytest.fixture
def quick_recipe(monkeypatch):
    """Who trains on the digits by the recipe does two steps."""
    recipe = recipes.digits()
    short = replace(recipe, training=replace(recipe.training, steps=2))
    monkeypatch.setattr(recipes, "digits", lambda seed=0: short)


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippets_run(snippet, tmp_path, monkeypatch, quick_recipe):
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng(devices=[]):
        exec(compile(snippet, "<snippet>", "exec"), {"__name__": "snippet"})


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_resolve(document):
    for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
        if not target.startswith(("http:", "https:")):
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_exist(document):
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make (\w+)", document.read_text()):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_every_sampler_is_listed():
    listed = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "samplers.md").read_text(), re.M)
    assert listed == list(names())
