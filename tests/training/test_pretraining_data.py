"""What is read: cleaned, split, rendered, and the same whenever it is asked for."""

from __future__ import annotations

import json
import lzma
import random
from pathlib import Path
from typing import Any

import pytest

from interns.completion import Message
from interns.errors import BrokenFile
from interns.prompt import NOT_IN_SOURCES, ChatTemplate
from tests.training.pretraining import TEXT, numbered, write_corpus
from training.pretraining.asking import ask, questions
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
from training.pretraining.passages import Passage
from training.pretraining.skills import ABOUT_PASSAGES, ABOUT_RECORDS, generate

PASSAGES = [
    Passage("The old mill", ("The mill stands by the river.", "Its wheel turned for years.")),
    Passage("A long winter", ("Snow fell in October.", "Nobody could leave the valley.", "It was cold.")),
    Passage("", ("Bread needs flour and water.", "Salt gives it taste.")),
]  # fmt: skip


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
        named = make.__name__ in {"title", "reformat", "own_role", "to_json", "ask"}
        assert known or named, (answer, told)


@pytest.mark.parametrize(
    ("sentence", "asked"),
    [
        ("The old king gave her a ring made of gold.", [("Who gave her a ring made of gold?", "The old king")]),
        ("Amazon S3 provides features for storage classes.", [("What provides features for storage classes?", "Amazon S3")]),
        ("They sailed home in 1844 with all of their friends.", [("When? They sailed home with all of their friends.", "in 1844")]),
        ("There were seven brothers in the house by the mill.", [
            ("How many brothers?", "seven"), ("Where? There were seven brothers by the mill.", "in the house")]),
        ("We stayed at home that day because it rained all week.", [
            ("Why? We stayed at home that day.", "because it rained all week"),
            ("When? We stayed at home because it rained all week.", "that day")]),
        ("“Open the door at once!” cried the wolf, and he knocked.", [("Who said: “Open the door at once”?", "the wolf")]),
        ("The wicked queen said that she was fair.", [("Who said that she was fair?", "The wicked queen")]),
        ("His beloved wife was tired of the long way.", [("What was tired of the long way?", "His beloved wife")]),
        ("The left wing is closed for the winter.", [("What is closed for the winter?", "The left wing")]),
        ("There were 1844 ships and 12 boats.", [("How many boats?", "12")]),
        ("It was cold.", []),
    ],
)  # fmt: skip
def test_sentences_are_asked_about_by_taking_out_what_answers(
    sentence: str, asked: list[tuple[str, str]]
) -> None:
    assert list(questions(sentence)) == asked
    assert all(answer in sentence for _, answer in asked)


def test_a_question_about_another_passage_is_not_answered() -> None:
    rng = random.Random(8)
    told = ("The old king gave her a ring made of gold.", "They sailed home in 1844 with friends.")
    passages = [Passage("", told), *PASSAGES]
    answers: dict[bool, int] = {True: 0, False: 0}
    for _ in range(400):
        chat = ask(rng, passages)
        text, answer = chat[-2].content, chat[-1].content
        value = json.loads(answer)["answer"] if answer.startswith("{") else answer
        there = value not in ("", NOT_IN_SOURCES)
        assert not there or value in text.rpartition("\n\n")[0]
        answers[there] += 1
    assert answers[True] > answers[False] > 0


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


def test_interview_questions_of_other_licences_are_not_read(tmp_path: Path) -> None:
    file = tmp_path / "interview_qa" / SETS["interview_qa"][0]
    file.parent.mkdir()
    asked = {"What?": "MIT", "Why you?": "GPL-3.0", "How?": "CC BY 4.0", "Who?": "MIT"}
    rows = [{"prompt": q, "response": "A part.", "licence": name} for q, name in asked.items()]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ((_, path, documents),) = read_sets(tmp_path)
    assert [document.chat[-2].content for document in documents] == ["What?", "How?", "Who?"]
    assert licence_of_set(path) == "CC BY 4.0 (1 rows), MIT (2 rows)"
    file.write_text('{"prompt": "What"}\n')
    with pytest.raises(BrokenFile, match="interview_qa"):
        licence_of_set(path)
