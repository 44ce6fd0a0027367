"""What is learned from: token files, rows, recipes and tokenizers."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from interns.errors import BrokenFile, Incompatible, InvalidInput
from tests.training.pretraining import RECIPES, make_file, numbered, write_corpus
from training.pretraining.chat import make_chat, segments
from training.pretraining.corpus import (
    Document,
)
from training.pretraining.export import COMMITTED
from training.pretraining.packing import IGNORED, Pile, Reader
from training.pretraining.preparing import Order, load_corpus, prepare
from training.pretraining.recipe import Course, PretrainRecipe, Shape, load_recipe
from training.pretraining.tokenizer import load_tokenizer
from training.pretraining.tokens import UNLEARNED, load_tokens, tokenize

# Token files and packing ---------------------------------------------------------------------


def test_only_what_the_assistant_says_is_learned() -> None:
    tokenizer = load_tokenizer(COMMITTED, 8192)
    chat = make_chat("What is 12?", "A number.")
    ids, lengths, _ = tokenize(tokenizer, [Document(chat=chat)])
    learned = tokenizer.decode((ids[ids < UNLEARNED]).tolist(), skip_special_tokens=False)
    assert learned == "A number.<|im_end|>"
    everything = tokenizer.decode((ids & 0x7FFF).tolist(), skip_special_tokens=False)
    assert everything == "".join(text for text, _ in segments(chat))
    assert lengths.tolist() == [len(ids)]


def test_in_a_dialogue_both_sides_are_learned_but_not_what_the_system_says() -> None:
    tokenizer = load_tokenizer(COMMITTED, 8192)
    chat = make_chat("What is 12?", "A number.", system="Be brief.")
    ids, _, _ = tokenize(tokenizer, [Document(chat=chat)], ("user", "assistant"))
    learned = tokenizer.decode((ids[ids < UNLEARNED]).tolist(), skip_special_tokens=False)
    assert learned == "What is 12?<|im_end|>A number.<|im_end|>"
    everything = tokenizer.decode((ids & 0x7FFF).tolist(), skip_special_tokens=False)
    assert everything == "".join(text for text, _ in segments(chat))


def test_a_damaged_token_file_is_refused(tmp_path: Path) -> None:
    make_file([30, 20], 1).save(tmp_path)
    path = tmp_path / "made.npz.xz"
    whole = load_tokens(path)
    assert whole.lengths.tolist() == [30, 20]
    assert whole.learned == 1
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(BrokenFile, match=r"made\.npz\.xz"):
        load_tokens(path)


def test_every_token_is_read_once_in_a_pass_and_no_row_overflows() -> None:
    rng = random.Random(1)
    lengths = [rng.randint(8, 300) for _ in range(150)]
    file, context = make_file(lengths, 120), 64
    pile = Pile.of([file], context)
    rows = pile.rows(context, (1, 2))
    assert max(sum(size for _, size in row) for row in rows) <= context
    seen = Counter(t for row in rows for start, size in row for t in range(start, start + size))
    assert set(seen.values()) == {1}
    rests = sum(n % context for n in lengths[:120] if n % context < 8)
    assert len(seen) == sum(lengths[:120]) - rests
    assert len(rows) * context < 1.1 * len(seen)
    held = Pile.of([file], context, held_out=True)
    assert held.starts.min() == sum(lengths[:120])


def test_long_chats_are_cut_at_their_end_only() -> None:
    pile = Pile.of([make_file([150, 20], 2, "skills")], 64)
    assert sorted(zip(pile.starts.tolist(), pile.sizes.tolist(), strict=True)) == [
        (0, 64),
        (150, 20),
    ]


def test_targets_never_cross_a_border_and_skip_what_is_not_learned() -> None:
    file = make_file([10, 12, 9], 3)
    pile = Pile.of([file], 32)
    (row,) = pile.rows(32, (0,))
    batch = pile.batch([row], 32, pad=7)
    ids, targets, documents = (part[0].tolist() for part in batch)
    assert documents.count(-1) == 1
    firsts = {0, 10, 22}
    for at in range(31):
        inside = documents[at] == documents[at + 1] and ids[at + 1] not in firsts
        assert targets[at] == (ids[at + 1] if inside else IGNORED)
    assert targets[31] == IGNORED
    assert sum(target != IGNORED for target in targets) == 31 - 3


def make_recipe(**shares: float) -> PretrainRecipe:
    shape = Shape(context=32, hidden=32, heads=2, kv_heads=2, feed_forward=32)
    return PretrainRecipe(
        "made", shape, Course(steps=40, rows=5, micro_rows=5, decay=0.5), shares, {"skills": 1.0}
    )


def test_batches_depend_on_the_step_alone_and_follow_the_shares() -> None:
    files = [make_file([40] * 30, 28), make_file([25] * 30, 28, "skills")]
    recipe = make_recipe(prose=0.8, skills=0.2)
    reader, again = (Reader(files, recipe, 7) for _ in range(2))
    forwards = [reader.batch(step) for step in range(40)]
    for step in (39, 3, 17):
        for one, other in zip(forwards[step], again.batch(step), strict=True):
            assert (one == other).all()
    prose = sum((batch.documents.max(axis=1) >= 0).sum() for batch in forwards)
    assert prose == 200
    assert "prose" in " ".join(reader.describe(step) for step in range(20))
    assert "prose" not in " ".join(reader.describe(step) for step in range(20, 40))
    assert set(reader.held_out()) == {"prose", "skills"}


def test_rows_are_short_until_the_rate_decays_and_as_many_tokens_a_step() -> None:
    files = [make_file([40] * 30, 28), make_file([25] * 30, 28, "skills")]
    recipe = make_recipe(prose=1.0)
    recipe = replace(recipe, course=replace(recipe.course, short_context=16))
    reader = Reader(files, recipe, 7)
    shapes = [reader.batch(step).ids.shape for step in range(40)]
    assert shapes == [(10, 16)] * 20 + [(5, 32)] * 20
    assert all(batch.ids.shape[1] == 32 for batch in reader.held_out().values())


def test_a_group_without_documents_is_told() -> None:
    with pytest.raises(InvalidInput, match="novels"):
        Reader([make_file([40] * 9, 9)], make_recipe(novels=1.0), 7)


def test_preparing_goes_on_where_it_stopped_and_fills_parts(tmp_path: Path) -> None:
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    corpus.mkdir()
    write_corpus(corpus / "a.jsonl.xz", numbered(300))
    # Numbers 0 to 299 again, then new ones: a file that was made before must still count as seen.
    write_corpus(corpus / "b.jsonl.xz", numbered(400))
    (corpus / "a.SOURCE.md").write_text("- Licence as stated there: CC0\n")
    tokenizer = load_tokenizer(COMMITTED, 8192)
    order = Order(corpus, None, out, Course(skills=50), part_bytes=3000)
    told: list[str] = []
    assert not prepare(order, tokenizer, told.append, until=0)
    assert prepare(order, tokenizer, told.append)
    (first,) = out.rglob("b.npz.xz")
    before = first.read_bytes()
    first.unlink()
    assert prepare(order, tokenizer, told.append)
    (again,) = out.rglob("b.npz.xz")
    assert again.read_bytes() == before
    files, fingerprint = load_corpus(out, tokenizer)
    counts = {file.name: len(file.lengths) for file in files}
    assert counts["a"] == 300
    assert counts["b"] == 100
    assert 40 <= counts["generated_skills"] <= 50
    assert files[0].licence == "CC0"
    assert files[0].left_out == 0
    assert "- Licence: CC0" in files[0].attribution
    assert len(list(out.glob("part-*"))) > 1
    assert len(fingerprint) == 64


def test_what_shares_words_with_an_exam_is_left_out_and_counted(tmp_path: Path) -> None:
    corpus, sets, out = (tmp_path / name for name in ("corpus", "sets", "out"))
    for folder in (corpus, sets / "xquad_en", sets / "gsm8k"):
        folder.mkdir(parents=True)
    words = [f"word{i}" for i in range(30)]
    exam = [{"context": " ".join(words), "question": "Which?"}, {"context": "a b", "question": "c"}]
    (sets / "xquad_en" / "xquad_en.jsonl").write_text("".join(json.dumps(r) + "\n" for r in exam))
    rows = numbered(30)
    rows[3]["text"] += "\nA b, c. " + ", ".join(words[4:16])
    rows[7]["text"] += " " + ",\n".join(words[4:17]).upper() + "!"
    write_corpus(corpus / "a.jsonl.xz", rows)
    asked = [{"question": f"{i} {' '.join(words[i:])}", "answer": "#### 4"} for i in (2, 25)]
    (sets / "gsm8k" / "train.jsonl").write_text("".join(json.dumps(r) + "\n" for r in asked))
    told: list[str] = []
    order = Order(corpus, sets, out, Course(skills=0))
    assert prepare(order, load_tokenizer(COMMITTED, 8192), told.append)
    counts = {path.name: len(load_tokens(path).lengths) for path in out.glob("*.npz.xz")}
    assert counts == {"a.npz.xz": 29, "gsm8k.npz.xz": 1}
    assert load_tokens(out / "a.npz.xz").left_out == 1
    assert told[0].startswith("Instruction sets: gsm8k; not there: ")
    assert [line.partition("; ")[2] for line in told[1:]] == [
        "1 left out, which share words with exams (xquad_en 1)"
    ] * 2
    (sets / "xquad_en" / "xquad_en.jsonl").write_text('{"context": "a"}\n')
    with pytest.raises(BrokenFile, match="xquad_en"):
        prepare(replace(order, out=tmp_path / "anew"), load_tokenizer(COMMITTED, 8192), told.append)


# Recipes and tokenizers ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "low", "high", "tokens"),
    [
        ("starter-gpu", 30e6, 36e6, 4.6e8),
        ("starter-gpu-long", 30e6, 36e6, 1e9),
        ("starter-cpu", 8e6, 12e6, 1e6),
        ("tiny", 1e6, 2e6, 1e6),
    ],
)
def test_shipped_recipes_have_the_size_they_claim(
    name: str, low: float, high: float, tokens: float
) -> None:
    recipe = load_recipe(RECIPES / f"{name}.toml")
    assert low <= recipe.shape.parameters <= high
    assert recipe.tokens >= tokens
    assert recipe.tokenizer == COMMITTED


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[model]\nhidden = 72", "multiples of 32"),
        ("[model]\nhidden = 'wide'", "must be a whole number"),
        ("[training]\nstepz = 3", "no setting 'stepz'"),
        ("[training]\nrows = 8\nmicro_rows = 3", "no multiple"),
        ("[model]\ncontext = 512\n[training]\nshort_context = 200", "no multiple"),
        ("[model]\nvocabulary = 70000", "between"),
        ("[stable]\npoems = 1", "poems"),
        ("[stable]\nprose = 0", "all 0"),
        ("model = [", "not TOML"),
    ],
)
def test_a_wrong_recipe_says_what_is_wrong(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text(line + ("" if "stable" in line else "\n[stable]\nprose = 1\n"))
    with pytest.raises(InvalidInput, match=said):
        load_recipe(path)


def test_the_committed_tokenizer_splits_digits_and_keeps_tokens_free() -> None:
    tokenizer = load_tokenizer(COMMITTED, 8192)
    assert tokenizer.encode("2026").tokens == ["2", "0", "2", "6"]
    reserved = [t for t in tokenizer.get_vocab() if t.startswith("<|reserved_")]
    assert len(reserved) == 256
    text = "Zürich 日本語 👩‍💻\n\tx = 1"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


@pytest.mark.parametrize("change", ["normalizer", "split", "reserved", "type", "cut"])
def test_a_tokenizer_that_llama_cpp_cannot_repeat_is_refused(tmp_path: Path, change: str) -> None:
    path = tmp_path / "tokenizer.json"
    data = json.loads(COMMITTED.read_text())
    if change == "normalizer":
        data["normalizer"] = {"type": "Lowercase"}
    if change == "split":
        data["pre_tokenizer"]["pretokenizers"][0]["individual_digits"] = False
    if change == "reserved":
        data["added_tokens"] = [t for t in data["added_tokens"] if t["id"] != 9]
        data["model"]["vocab"]["another"] = data["model"]["vocab"].pop("<|reserved_5|>")
    if change == "type":
        data["pre_tokenizer"] = {"type": "Whitespace"}
    content = json.dumps(data)
    path.write_text(content[: 1000 if change == "cut" else None])
    with pytest.raises(BrokenFile if change == "cut" else Incompatible, match=r"tokenizer\.json"):
        load_tokenizer(path, 8192)
