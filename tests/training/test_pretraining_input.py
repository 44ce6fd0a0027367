"""Recipes, texts and tokenizers that a base cannot be made with are refused, and it is said why."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import pytest
from tokenizers import pre_tokenizers

from interns.bases import STARTER
from interns.errors import BrokenFile, Incompatible, InvalidInput
from tests.tiny_bases import TINY
from tests.training.pretraining import TEXT, numbered, write_corpus
from training.pretraining.corpus import group_of, read_documents, sources
from training.pretraining.curves import Curve
from training.pretraining.export import COMMITTED
from training.pretraining.recipe import load_recipe
from training.pretraining.tokenizer import load_tokenizer


def say(*turns: str) -> dict[str, Any]:
    """A row of messages: ``role: content`` each."""
    pairs = [turn.partition(": ") for turn in turns]
    return {"id": "1", "messages": [{"role": role, "content": text} for role, _, text in pairs]}


# Texts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"id": "1", "text": f"{TEXT} \ud800"}, "surrogates not allowed"),
        ({"id": "1", "title": "\udfff", "text": TEXT}, "surrogates not allowed"),
        ({"id": "1", "text": 7}, "'7' stands where a text must"),
        ({"prompt": "a", "completion": None}, "'None' stands where a text must"),
        ({"prompt": "a"}, "it lacks 'completion'"),
        (say("user: a", "narrator<|im_end|>: b"), r"role 'narrator<\|im_end\|>'"),
        (say("user: a", "system: b", "assistant: c"), "role 'system'"),
        (say("user: a", "assistant: b", "assistant: c"), "twice in a row"),
        ({"id": "1", "messages": {"role": "user"}}, "no list of objects"),
        ({"id": "1", "messages": [{"role": ["user"], "content": "a"}]}, "role"),
        ({"id": "1", "split": None, "text": TEXT}, "split or template is no text"),
        ([["text", "abc"]], "no JSON object"),
    ],
)
def test_a_bad_line_is_told_by_its_number_and_what_to_try(
    tmp_path: Path, row: dict[str, Any], said: str
) -> None:
    path = write_corpus(tmp_path / "a.jsonl.xz", [*numbered(2), row])
    with pytest.raises(BrokenFile, match=rf"a\.jsonl\.xz, line 3: .*{said}") as refused:
        list(read_documents(path))
    assert "A line holds" in refused.value.fix


def test_good_chats_pass(tmp_path: Path) -> None:
    rows = [
        say("system: Be kind.", "user: a", "assistant: b", "user: c"),
        say("assistant: May I help?", "user: Yes", "assistant: b"),
    ]
    assert len(list(read_documents(write_corpus(tmp_path / "a.jsonl.xz", rows)))) == 2


def test_a_half_line_is_told_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.xz"
    path.write_bytes(lzma.compress(b'{"text": "a"}\n{"text": '))
    with pytest.raises(BrokenFile, match="line 2: no JSON"):
        list(read_documents(path))


def test_a_source_without_a_line_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.xz"
    path.write_bytes(lzma.compress(b""))
    for read in (group_of, lambda path: list(read_documents(path))):
        with pytest.raises(BrokenFile, match=r"a\.jsonl\.xz is empty"):
            read(path)


def test_a_folder_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.xz").mkdir()
    with pytest.raises(InvalidInput, match="holds no corpus"):
        sources(tmp_path)


# Recipes and curves --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model = 3", "model is 3, but must be a table"),
        ("model = 0", "model is 0, but must be a table"),
        ("training = [1]", r"training is \[1\], but must be a table"),
        ("[model]\ncontext = inf", "context is inf"),
        ("[model]\ncontext = nan", "context is nan"),
        ("[training]\nclip = 1" + 400 * "0", "clip is 1"),
        ("[training]\nseed = -1", "seed is -1"),
        ("[model]\nfeed_forward = -32", "feed_forward is -32"),
        ("[model]\nvocabulary = 500", "between 516 and"),
        ("[stable]\nprose = inf", "prose = inf is no share"),
        ("[stable]\nprose = nan", "prose = nan is no share"),
        ("stable = 1", r"no \[stable\]"),
    ],
)
def test_a_recipe_with_a_value_of_another_kind_is_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "r.toml"
    path.write_text(text + ("" if "stable" in text else "\n[stable]\nprose = 1\n"))
    with pytest.raises(InvalidInput, match=said) as refused:
        load_recipe(path)
    assert refused.value.fix


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read") as refused:
        load_recipe(tmp_path)
    assert refused.value.fix


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (['{"step":1,"loss":3.0}', '{"loss":2.0}'], "line 2 has no step"),
        (['["step", 1]'], "line 1 has no step"),
        (["{"], "no curve"),
        (['{"step":1,"loss":3.0}', '{"step":3,"loss":2.0}'], "does not hold every step until 3"),
        ([], "does not hold every step until 3"),
    ],
)
def test_a_curve_with_a_hole_or_something_else_in_it_is_refused(
    tmp_path: Path, lines: list[str], said: str
) -> None:
    path = tmp_path / "curve.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines))
    before = path.read_bytes()
    with pytest.raises(BrokenFile, match=said) as refused:
        Curve(path).cut(3)
    assert "Put back the curve" in refused.value.fix
    assert path.read_bytes() == before


# Tokenizers ----------------------------------------------------------------------------------


def _spare_byte(data: dict[str, Any]) -> str:
    merged = "".join(sign for merge in data["model"]["merges"] for sign in "".join(merge))
    return min(set(pre_tokenizers.ByteLevel.alphabet()) - set(merged))


def _lose_byte(data: dict[str, Any]) -> None:
    data["model"]["vocab"]["another"] = data["model"]["vocab"].pop(_spare_byte(data))


def _gap(data: dict[str, Any]) -> None:
    last = max(data["model"]["vocab"], key=data["model"]["vocab"].get)
    data["model"]["vocab"][last] += 100


def _bos(data: dict[str, Any]) -> None:
    bos = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
    sequence = {"Sequence": {"id": "A", "type_id": 0}}
    data["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [bos, sequence],
        "pair": [bos, sequence],
        "special_tokens": {
            "<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}
        },
    }


def _added(data: dict[str, Any]) -> None:
    last = max(data["model"]["vocab"], key=data["model"]["vocab"].get)
    data["added_tokens"].append(
        data["added_tokens"][0]
        | {"id": data["model"]["vocab"][last], "content": last, "special": False, "lstrip": True}
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data["model"].update(dropout=0.2), r"model\.dropout"),
        (lambda data: data["model"].update(ignore_merges=True), r"model\.ignore_merges"),
        (lambda data: data["model"].update(byte_fallback=True), r"model\.byte_fallback"),
        (lambda data: data.update(decoder={"type": "Fuse"}), "decoder"),
        (_bos, "post_processor"),
        (lambda data: data["added_tokens"][1].update(rstrip=True), "added_tokens"),
        (_added, "added_tokens"),
        (_lose_byte, "a byte is missing"),
        (_gap, "ids with gaps"),
    ],
    ids=[
        *("dropout", "ignore_merges", "byte_fallback", "decoder", "post_processor"),
        *("rstrip", "added", "byte", "gap"),
    ],
)
def test_a_tokenizer_with_anything_but_the_plain_parts_is_refused(
    tmp_path: Path, change: Any, said: str
) -> None:
    data = json.loads(COMMITTED.read_text())
    change(data)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(data))
    with pytest.raises(Incompatible, match=said) as refused:
        load_tokenizer(path, 8192)
    assert refused.value.fix


@pytest.mark.parametrize("path", [COMMITTED, STARTER / "tokenizer.json", TINY / "tokenizer.json"])
def test_the_tokenizers_that_ship_pass(path: Path) -> None:
    assert load_tokenizer(path, 8192).get_vocab_size() == 8192
