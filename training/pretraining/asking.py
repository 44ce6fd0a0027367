"""Generated questions about real passages whose answer stands in them word for word.

A sentence becomes a question by taking out one part of it: who did it, when, where, how many, why,
or who said it. Crude as English and now and then crude in what it takes for the subject, but the
answer is always words of the sentence, and no passage is asked by hand.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence

from interns.charter import Charter
from interns.completion import Message
from interns.intern import Profile
from interns.prompt import NOT_IN_SOURCES, baseline_messages
from interns.skill import Skill
from training.pretraining import words
from training.pretraining.chat import Chat, make_chat
from training.pretraining.passages import Passage, cloze

_VERB = (
    r"(?:is|was|are|were|has|had|have|can|could|will|would|must|may|might|should|said|went|came|took|"
    r"made|gave|wrote|saw|found|became|began|told|knew|thought|left|got|held|kept|brought|won|lost|"
    r"built|sent|led|ran|lived|[a-z]{3,}ed|provides|contains|uses|allows|includes|shows|helps)"
)
_DETERMINER = "The|An?|His|Her|Their|Our|My|This|Some|Many|Most"
_NAME = rf"(?!(?:{_DETERMINER})\b)[A-Z][\w’'-]+(?: (?:of |the |and )?[A-Z][\w’'-]+){{0,3}}"
_NOUN = rf"(?:{_DETERMINER}) (?:[a-z][\w-]* ){{0,3}}?[a-z][\w-]*"
_SUBJECT = re.compile(rf"({_NAME}|{_NOUN}) ({_VERB} [^;:]{{8,160}})[.!?]")
_TIME = re.compile(
    r"(?:(?:[Ii]n|[Oo]n|[Ss]ince|[Bb]y|[Uu]ntil) (?:the )?(?:[A-Z][a-z]+ )?(?:\d{1,2},? )?"
    r"(?:1[0-9]|20)\d\d|(?:every|next|last|one|that) (?:day|morning|evening|night|week|month|year))"
)
_PLACE = re.compile(
    r"\b(?:(?:in|at|near|from) [A-Z][a-z]+(?: [A-Z][a-z]+)?|"
    r"(?:in|at|near|from|into|to) the (?:[a-z]+ )?"
    r"(?:forest|woods?|house|garden|palace|castle|room|city|town|village|river|sea|mountains?|fields?|"
    r"kitchen|school|office|church|temple|market|street|road|lake|island|cave|court|desert|water|sky))"
    r"(?=[ ,.;])"
)
_COUNT = re.compile(
    r"\b(two|three|four|five|six|seven|eight|nine|ten|twelve|twenty|hundred|"
    r"(?!(?:1\d|20)\d\d )\d[\d,.]*) ([a-z]{3,}s)\b"
)
_REASON = re.compile(r"(.{15,160}?),? (because [^;:]{8,120})[.!?]")
_SPEECH = re.compile(
    r"“([^”]{8,160})[,!?.]” (?:said|asked|cried|answered|replied) "
    rf"((?:the|his|her) [a-z]+(?: [a-z]+)?(?=[,.;])|{_NAME})"
)
# What begins a sentence and is no subject to be asked for.
_OPENING = re.compile(
    r"He|She|It|They|We|You|I|This|That|These|Those|There|Here|What|Who|Which|If|When|As|"
    r"And|But|So|Then|In|On|At|For|To|From|By|With|Not|No|Yes|All|Each|Every|Or|Where|"
    r"We're|It's"
)
_GOING_ON = re.compile(r"who|which|that|and|or")  # a subject that ends so is not whole
_HUMAN = re.compile(  # what somebody does, not something
    r"said|went|came|took|gave|wrote|saw|told|knew|thought|ran|lived|asked|answered|cried|"
    r"replied|danced|slipped|rushed|looked|turned|wanted|loved|married|brought|left|began|"
    r"found"
)

_ROLES = ("Answer questions about a text.", "Read the text and answer.", "Find what is asked for.")


def ask(rng: random.Random, passages: Sequence[Passage]) -> Chat:
    """A question about a passage, answered in its words; some are about another passage."""
    for _ in range(50):  # about one sentence in six can be asked about
        passage, other = rng.choice(passages), rng.choice(passages)
        sentence = rng.choice(passage.sentences)
        found = list(questions(sentence))
        if not found:
            continue
        question, answer = rng.choice(found)
        there = rng.random() < 0.85 or _may_answer(other, question, answer)
        text = (passage if there else other).text
        return _laid_out(rng, text, question, answer if there else NOT_IN_SOURCES)
    return cloze(rng, passages)


def _may_answer(passage: Passage, question: str, answer: str) -> bool:
    """Whether a passage holds the answer, or one to a question that begins alike."""
    kind = question.split(maxsplit=1)[0]
    alike = (asked for sentence in passage.sentences for asked, _ in questions(sentence))
    return answer in passage.text or any(asked.split()[0] == kind for asked in alike)


def questions(sentence: str) -> Iterator[tuple[str, str]]:
    """Every question that can be made of a sentence, with its answer."""
    if hit := _SUBJECT.fullmatch(sentence):
        subject, rest = hit.groups()
        first, last = subject.split()[0], subject.split()[-1]
        if not (_OPENING.fullmatch(first) or _GOING_ON.fullmatch(last)):
            asked = "Who" if _HUMAN.fullmatch(rest.split()[0]) else "What"
            yield f"{asked} {rest}?", subject
    if hit := _REASON.fullmatch(sentence):
        yield f"Why? {hit[1]}.", hit[2]
    if hit := _SPEECH.search(sentence):
        yield f"Who said: “{hit[1]}”?", hit[2]
    for hit in _COUNT.finditer(sentence):
        yield f"How many {hit[2]}?", hit[1]
    for word, pattern in (("When", _TIME), ("Where", _PLACE)):
        if (hit := pattern.search(sentence)) and hit.end() - hit.start() < len(sentence) // 2:
            rest = f"{sentence[: hit.start()]}{sentence[hit.end() :]}"
            yield f"{word}? {' '.join(rest.split()).replace(' ,', ',').replace(' .', '.')}", hit[0]


def _laid_out(rng: random.Random, text: str, question: str, answer: str) -> Chat:
    """As people ask, or as the office asks an `extract` intern for the field ``answer``."""
    if rng.random() < 0.5:
        rule = f"Answer in words of the text, or say: {NOT_IN_SOURCES}."
        return make_chat(f"{text}\n\n{question}", answer, system=rng.choice((rule, rule, "")))
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}}
    profile = Profile("reader", Skill.EXTRACT, rng.choice(_ROLES), schema=schema)
    charter = Charter(words.mission(rng) if rng.random() < 0.5 else "")
    asked = baseline_messages(profile, f"{text}\n\n{question}", charter=charter)
    value = "" if answer == NOT_IN_SOURCES else answer
    found = json.dumps({"answer": value}, ensure_ascii=False)
    return (*asked, Message("assistant", found))
