"""What is read: cleaned, split, packed, and the same whenever it is asked for."""

from __future__ import annotations

import json
import lzma
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interns.completion import Message
from interns.errors import BrokenFile, Incompatible, InvalidInput
from interns.prompt import NOT_IN_SOURCES, ChatTemplate
from training.pretraining.attribution import attribution_of, write_attribution
from training.pretraining.chat import BOS, END, TEMPLATE, Chat, make_chat, segments
from training.pretraining.chats import SETS, licence_of_set, read_sets
from training.pretraining.corpus import (
    Document,
    clean,
    group_of,
    licence_of,
    read_documents,
    without_duplicates,
)
from training.pretraining.export import COMMITTED
from training.pretraining.interviews import in_exam, plain
from training.pretraining.packing import IGNORED, Pile, Reader
from training.pretraining.passages import Passage
from training.pretraining.preparing import Order, load_corpus, prepare
from training.pretraining.recipe import Course, PretrainRecipe, Shape, load_recipe
from training.pretraining.skills import ABOUT_PASSAGES, ABOUT_RECORDS, generate
from training.pretraining.tokenizer import load_tokenizer
from training.pretraining.tokens import UNLEARNED, TokenFile, load_tokens, tokenize

RECIPES = COMMITTED.parent
TEXT = "The river rises in the hills. It runs through the town and past the mill. " * 6
PASSAGES = [
    Passage("The old mill", ("The mill stands by the river.", "Its wheel turned for years.")),
    Passage("A long winter", ("Snow fell in October.", "Nobody could leave the valley.", "It was cold.")),
    Passage("", ("Bread needs flour and water.", "Salt gives it taste.")),
]  # fmt: skip


def write_corpus(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    content = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(lzma.compress(content.encode()))
    return path


def numbered(count: int) -> list[dict[str, Any]]:
    return [
        {"id": str(i), "title": f"Part {i}", "text": f"{TEXT} Number {i}."} for i in range(count)
    ]


def make_file(lengths: Sequence[int], learned: int, group: str = "prose") -> TokenFile:
    """Ids count up, so that every token can be told; the first of each document is unlearned."""
    ids = np.arange(sum(lengths), dtype=np.uint16)
    ids[np.cumsum([0, *lengths[:-1]])] |= UNLEARNED
    return TokenFile("made", group, "", "", ids, np.array(lengths, dtype=np.uint32), learned)


# Corpus files --------------------------------------------------------------------------------


def test_a_truncated_corpus_file_is_named_and_nothing_is_guessed(tmp_path: Path) -> None:
    path = write_corpus(tmp_path / "a.jsonl.xz", numbered(300))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(BrokenFile, match=r"a\.jsonl\.xz is truncated"):
        list(read_documents(path))


@pytest.mark.parametrize("content", [b"no xz at all", lzma.compress(b"[1, 2]\n{"), b""])
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.jsonl.xz"
    path.write_bytes(content)
    with pytest.raises(BrokenFile, match=r"a\.jsonl\.xz"):
        list(read_documents(path))


def test_a_line_without_text_is_told_by_its_number(tmp_path: Path) -> None:
    path = write_corpus(tmp_path / "a.jsonl.xz", [*numbered(2), {"id": "x", "body": "?"}])
    with pytest.raises(BrokenFile, match="line 3"):
        list(read_documents(path))


def test_what_is_examined_stays_out(tmp_path: Path) -> None:
    stories = [{"id": s, "split": s, "text": f"{s} {TEXT}"} for s in ("train", "val", "test")]
    found = list(read_documents(write_corpus(tmp_path / "fairytales.jsonl.xz", stories)))
    assert [document.text.split()[0] for document in found] == ["train"]
    rows = [
        {"prompt": "Is it good?", "completion": "yes", "template": "rotten_tomatoes_Expressed"},
        {"prompt": "Who?", "completion": "Ada", "template": "quoref_What_Is"},
    ]
    kept = list(read_documents(write_corpus(tmp_path / "t0.jsonl.xz", rows)))
    assert [document.chat for document in kept] == [make_chat("Who?", "Ada")]


def test_kinds_of_files_become_groups(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    files = {
        "novels_1885_1930": numbered(1),
        "python_peps": numbered(1),
        "other": numbered(1),
        "talks": [{"id": "1", "messages": talk}],
        "tasks": [{"prompt": "a", "completion": "b"}],
    }
    paths = [write_corpus(tmp_path / f"{name}.jsonl.xz", rows) for name, rows in files.items()]
    assert [group_of(path) for path in paths] == [
        "novels",
        "manuals",
        "prose",
        "dialogues",
        "instructions",
    ]


def test_duplicates_are_dropped_and_the_split_depends_on_the_content() -> None:
    documents = [Document(text=f"{TEXT} {i % 700}{' ' * (i // 700)}") for i in range(1400)]
    kept = list(without_duplicates(documents, set()))
    assert len(kept) == 700
    held_out = {document.text for document in kept if document.held_out}
    assert 0 < len(held_out) < 20
    assert held_out == {d.text for d in reversed(kept) if d.held_out}


def test_cleaning_leaves_no_control_tokens_or_signs() -> None:
    assert clean("a  \r\nb\x07<|im_end|>\n\n\n\nc\n") == "a\nb< |im_end|>\n\nc"


def test_attribution_names_source_commit_caution_and_authors(tmp_path: Path) -> None:
    story = {"id": "1", "title": "A tall man", "author": "Ada", "licence": "CC-BY", "text": TEXT}
    path = write_corpus(tmp_path / "stories.jsonl.xz", [story])
    (tmp_path / "stories.SOURCE.md").write_text(
        "# Open stories\n\n- Source repo: https://example.org/stories\n"
        "- Commit of the snapshot used: 12ab34c 2026-01-01\n- Licence as stated there: per story\n"
        "- Licence caution: SHARE-ALIKE\n- Fields: id\n\n| file |\n- a book @ fa7c1a15: 3 modules\n"
    )
    sources = [
        {"name": "stories", "attribution": attribution_of(path, licence_of(path))},
        {"name": "made", "attribution": attribution_of(tmp_path / "made.jsonl.xz", "")},
    ]
    _, _, entry = write_attribution(sources).partition("## ")
    assert entry.splitlines() == [
        "stories",
        "",
        "Open stories",
        "",
        "- File read: stories.jsonl.xz",
        "- Source repo: https://example.org/stories",
        "- Commit of the snapshot used: 12ab34c 2026-01-01",
        "- Licence caution: SHARE-ALIKE",
        "- a book @ fa7c1a15: 3 modules",
        "- Licence: per story",
        "- Works, each with its author and licence:",
        "  - A tall man, by Ada, CC-BY",
    ]


# Chats ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chat",
    [
        make_chat("Hi", "Hello"),
        make_chat("One?", "1", "Two?", "2", system="Count."),
        make_chat("say <|im_end|>", "no < | thanks", system="Be kind.\nAlways."),
    ],
)
def test_chats_are_rendered_as_the_template_renders_them(chat: Chat) -> None:
    template = ChatTemplate(TEMPLATE, BOS, END)
    rendered = "".join(text for text, _ in segments(chat))
    assert f"{rendered}\n" == template.render(chat, add_generation_prompt=False)
    first_answer = next(i for i, message in enumerate(chat) if message.role == "assistant")
    prompt = segments(chat)[0]
    assert prompt == (template.render(chat[:first_answer]), False)
    learned = [text for text, learn in segments(chat) if learn]
    assert learned == [m.content.replace("<|", "< |") + END for m in chat if m.role == "assistant"]


@pytest.mark.parametrize("make", [*ABOUT_RECORDS, *ABOUT_PASSAGES], ids=lambda f: f.__name__)
def test_every_generated_chat_ends_with_what_its_prompt_tells(make: Any) -> None:
    rng = random.Random(5)
    for _ in range(40):
        chat = make(rng, PASSAGES) if make in ABOUT_PASSAGES else make(rng)
        assert chat[-1].role == "assistant"
        assert [m.role for m in chat if m.role != "system"] == ["user", "assistant"] * (
            len([m for m in chat if m.role != "system"]) // 2
        )
        told = " ".join(m.content for m in chat[:-1]).casefold()
        answer = chat[-1].content
        known = answer.casefold() in told or answer in (NOT_IN_SOURCES, "yes", "no")
        named = make.__name__ in {"title", "reformat", "own_role", "to_json"}
        assert known or named, (answer, told)


def test_generated_json_has_the_fields_of_its_schema() -> None:
    (make,) = [f for f in ABOUT_RECORDS if f.__name__ == "to_json"]
    rng = random.Random(6)
    chats = [make(rng) for _ in range(200)]
    by_schema = [chat for chat in chats if "schema" in chat[0].content]
    assert len(by_schema) > 50
    for chat in by_schema:
        schema = json.loads(chat[0].content[chat[0].content.index("{") :])
        answer = json.loads(chat[-1].content)
        assert list(answer) == schema["required"]
        assert all(value in chat[1].content for value in answer.values())


def test_the_same_seed_gives_the_same_chats() -> None:
    assert list(generate(50, 1, PASSAGES)) == list(generate(50, 1, PASSAGES))
    assert list(generate(50, 1, PASSAGES)) != list(generate(50, 2, PASSAGES))


def test_instruction_sets_are_read_in_their_own_forms(tmp_path: Path) -> None:
    rows = {
        "databricks_dolly_15k": '{"instruction": "Name it", "context": "A cat", "response": "Cat"}',
        "gsm8k": '{"question": "2+2?", "answer": "2+2=<<2+2=4>>4\\n#### 4"}',
        "self_instruct": '{"instruction": "Add", "instances": [{"input": "1 1", "output": "2"}]}',
        "bitext_customer_support_intents": "flags,utterance,category,intent\nB,hello,X,greet\n"
        "B,bye,X,leave",
    }
    for name, content in rows.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / SETS[name][0]).write_text(content + "\n")
    found = {name: [d.chat for d in documents] for name, _, documents in read_sets(tmp_path)}
    assert found.keys() == rows.keys()
    assert found["gsm8k"][0][-1] == Message("assistant", "2+2=4\nThe answer is 4.")
    assert found["databricks_dolly_15k"][0][-2].content == "Name it\n\nA cat"
    labels = {chat[-1].content for chat in found["bitext_customer_support_intents"]}
    assert labels == {"greet", "leave"}
    assert all("greet" in c[0].content for c in found["bitext_customer_support_intents"])
    for damage in ('{"question": "2', '{"question": "\\ud800", "answer": "#### 4"}\n'):
        (tmp_path / "gsm8k" / "train.jsonl").write_text(damage)
        with pytest.raises(BrokenFile, match="gsm8k"):
            [list(documents) for _, _, documents in read_sets(tmp_path)]
    table = (
        tmp_path / "bitext_customer_support_intents" / SETS["bitext_customer_support_intents"][0]
    )
    table.write_text(f"flags,utterance,category,intent\nB,{'x' * 200_000},X,greet\n")
    with pytest.raises(BrokenFile, match="bitext"):  # longer than a field of a table may be
        [list(texts) for _, path, texts in read_sets(tmp_path) if path == table]


def test_the_exam_of_the_interviewer_and_other_licences_are_not_read(tmp_path: Path) -> None:
    file = tmp_path / "interview_qa" / SETS["interview_qa"][0]
    file.parent.mkdir()
    asked = [f"What is **part** {i}?" for i in range(200)]
    rows = [{"prompt": q, "response": "A part.", "licence": "MIT"} for q in asked]
    rows += [{"prompt": "Why you?", "response": "I try.", "licence": "GPL-3.0"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ((_, path, documents),) = read_sets(tmp_path)
    read = [document.chat[-2].content for document in documents]
    examined = [question for question in asked if in_exam(plain(question))]
    assert 5 < len(examined) < 50
    assert read == [question for question in asked if question not in examined]
    assert licence_of_set(path) == f"MIT ({len(read)} rows)"
    file.write_text('{"prompt": "What"}\n')
    with pytest.raises(BrokenFile, match="interview_qa"):
        licence_of_set(path)


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
        ("starter-gpu", 30e6, 36e6, 1e9),
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
