"""Generated chats about records: fields to JSON, choosing a label, remembering across turns."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping

from interns.charter import Charter
from interns.completion import Message
from interns.intern import Profile
from interns.prompt import NOT_IN_SOURCES, baseline_messages
from interns.skill import Skill
from training.pretraining import words
from training.pretraining.chat import Chat, make_chat

Fields = Mapping[str, str]

# What a record may hold, and how a message tells each field.
_MAKERS: Mapping[str, Callable[[random.Random], str]] = {
    "customer": words.person,
    "order": words.number,
    "item": lambda rng: f"{rng.choice(words.COLOURS)} {rng.choice(words.THINGS)}",
    "quantity": lambda rng: str(rng.randint(2, 40)),
    "city": lambda rng: rng.choice(words.CITIES),
    "date": words.date,
    "total": words.amount,
    "company": lambda rng: rng.choice(words.COMPANIES),
    "email": lambda rng: words.address(rng, words.person(rng)),
    "team": lambda rng: rng.choice(words.TEAMS),
}
_TOLD: Mapping[str, tuple[str, ...]] = {
    "customer": ("My name is {}.", "This is {} writing.", "The customer is {}.", "Regards, {}"),
    "order": ("The order number is {}.", "It is about order {}.", "Order {}.", "Reference: {}."),
    "item": ("I bought a {}.", "It concerns the {}.", "One {}, please.", "The {} is broken."),
    "quantity": ("We need {} of them.", "Quantity: {}.", "Please send {} pieces."),
    "city": ("Please deliver to {}.", "I live in {}.", "It goes to our office in {}."),
    "date": ("It should arrive by {}.", "I ordered on {}.", "The date was {}."),
    "total": ("I paid {} euros.", "The bill says {}.", "The total is {} in all."),
    "company": ("I work for {}.", "The bill goes to {}.", "{} is paying."),
    "email": ("You can write to {}.", "My address is {}.", "Contact: {}"),
    "team": ("Please pass it on to {}.", "This is for the {} team.", "Ask {} if unsure."),
}
_ASKED: Mapping[str, tuple[str, ...]] = {
    "customer": ("Who is the customer?", "What is the customer's name?"),
    "order": ("What is the order number?", "Which order is it about?"),
    "item": ("Which thing is it about?", "What was bought?"),
    "quantity": ("How many are needed?", "What is the quantity?"),
    "city": ("Which city is named?", "Where does it go?"),
    "date": ("Which date is named?", "When?"),
    "total": ("How much was paid?", "What is the total?"),
    "company": ("Which company is named?", "Who is paying?"),
    "email": ("What is the mail address?", "Where can one write to?"),
    "team": ("Which team is it for?", "Who should deal with it?"),
}
_TOPICS: Mapping[str, tuple[str, ...]] = {
    "refund": ("I want my money back for the {}.", "Please pay back what the {} cost."),
    "delivery": ("Where is my {}?", "The {} has not arrived yet.", "When will the {} come?"),
    "broken": ("The {} does not work.", "My {} fell apart.", "The {} came with a crack."),
    "praise": ("I love the {}!", "The {} is wonderful, thank you.", "Great {}, well done."),
    "price": ("How much is the {}?", "Is the {} cheaper next week?", "What does a {} cost?"),
    "cancel": ("Please cancel the {}.", "I do not want the {} any more."),
    "exchange": ("Can I swap the {} for another colour?", "I would like a bigger {}."),
    "stock": ("Do you still have the {}?", "Is the {} sold out?", "When is the {} back?"),
    "warranty": ("How long is the {} under warranty?", "Is the {} covered if it breaks?"),
    "invoice": ("I need a bill for the {}.", "The invoice for the {} is wrong."),
}
_OPENINGS = (
    "",
    "",
    "Hello. ",
    "Hi there, ",
    "Good morning. ",
    "Dear team, ",
    "Sorry to bother you. ",
)
_ROLES = ("Write the facts of each text as JSON.", "Read orders.", "Turn messages into records.")


def to_json(rng: random.Random) -> Chat:
    """A message becomes one JSON object of the schema in the system message."""
    record, message = _record(rng, rng.randint(2, 6))
    wanted = rng.sample(list(record), rng.randint(1, len(record)))
    missing = [name for name in _MAKERS if name not in record]
    if rng.random() < 0.3:
        wanted.insert(rng.randint(0, len(wanted)), rng.choice(missing))
    properties = {name: {"type": "string"} for name in wanted}
    schema = {"type": "object", "properties": properties, "required": wanted}
    profile = Profile("reader", Skill.EXTRACT, rng.choice(_ROLES), schema=schema)
    answer = json.dumps({name: record.get(name, "") for name in wanted}, ensure_ascii=False)
    if rng.random() < 0.5:
        return _asked(rng, profile, message, answer)
    fields = ", ".join(wanted)
    ask = rng.choice(("Give {} as JSON.", "As JSON with {}:", "Write {} as one JSON object."))
    return make_chat(f"{ask.format(fields)}\n\n{message}", answer, system=_system(rng))


def one_field(rng: random.Random) -> Chat:
    """One question about a message, or several in turn; some ask for what is not there."""
    record, message = _record(rng, rng.randint(3, 7))
    turns: list[str] = []
    for number in range(rng.choice((1, 1, 2, 3))):
        name = rng.choice(list(record) if rng.random() < 0.75 else list(_MAKERS))
        question = rng.choice(_ASKED[name])
        turns += [
            f"{message}\n\n{question}" if number == 0 else question,
            record.get(name, NOT_IN_SOURCES),
        ]
    rule = f"Answer from the text in as few words as you can, or say: {NOT_IN_SOURCES}."
    return make_chat(*turns, system=f"{_system(rng)}\n{rule}".strip())


def label(rng: random.Random) -> Chat:
    """Choose one of the labels that the system message names."""
    topics = rng.sample(list(_TOPICS), rng.randint(2, len(_TOPICS)))
    right = rng.choice(topics)
    text = rng.choice(_OPENINGS) + rng.choice(_TOPICS[right]).format(rng.choice(words.THINGS))
    style = rng.choice((str, str.upper, str.capitalize, lambda name: f"{name}_request"))
    labels = tuple(style(topic) for topic in topics)
    profile = Profile("sorter", Skill.CLASSIFY, "Sort customer messages.", labels=labels)
    if rng.random() < 0.6:
        return _asked(rng, profile, text, style(right))
    listed = "\n".join(f"- {name}" for name in labels)
    return make_chat(f"Which label fits?\n{listed}\n\nText: {text}", style(right))


def routing(rng: random.Random) -> Chat:
    """Choose by a table that the system message gives: labels that mean nothing by themselves."""
    topics = rng.sample(list(_TOPICS), rng.randint(2, 5))
    codes = [words.number(rng) for _ in topics]
    right = rng.randrange(len(topics))
    text = rng.choice(_TOPICS[topics[right]]).format(rng.choice(words.THINGS))
    table = "\n".join(f"{topic}: {code}" for topic, code in zip(topics, codes, strict=True))
    return make_chat(text, codes[right], system=f"Answer with the code of the topic.\n{table}")


def remember(rng: random.Random) -> Chat:
    """Facts are told one by one and asked for later."""
    record, _ = _record(rng, rng.randint(2, 5))
    turns: list[str] = []
    for name, value in record.items():
        turns += [
            rng.choice(_TOLD[name]).format(value),
            rng.choice(("Noted.", "All right.", "Ok.")),
        ]
    for name in rng.sample(list(record), rng.randint(1, len(record))):
        turns += [rng.choice(_ASKED[name]), record[name]]
    return make_chat(*turns, system=_system(rng))


def own_role(rng: random.Random) -> Chat:
    """Use what the system message says: name, role, mission, and a rule for every answer."""
    name, team = rng.choice(words.FIRST).casefold(), rng.choice(words.TEAMS)
    mission = words.mission(rng)
    profile = Profile(name, Skill.WRITE, f"Answer questions about {team}.")
    system = Charter(mission).system_prompt(profile)
    facts = [
        (("What is our mission?", "What do we stand for?", "Why are we here?"), mission),
        (("Who are you?", "What is your name?"), f"I am {name}."),
        (("What do you do?", "What is your task?"), f"I answer questions about {team}."),
    ]
    ending = rng.choice(("", "", f"Kind regards, {name}", f"Your {team} team", "Thank you."))
    rule = f"\nEnd every answer with: {ending}" if ending else ""
    turns: list[str] = []
    for questions, answer in rng.sample(facts, rng.randint(1, 3)):
        turns += [rng.choice(questions), f"{answer} {ending}".strip()]
    return make_chat(*turns, system=system + rule)


def _record(rng: random.Random, count: int) -> tuple[Fields, str]:
    """Some fields with values and a message that tells them."""
    names = rng.sample(list(_MAKERS), count)
    record = {name: _MAKERS[name](rng) for name in names}
    told = [rng.choice(_TOLD[name]).format(value) for name, value in record.items()]
    if rng.random() < 0.5:
        told.insert(rng.randint(0, len(told)), rng.choice(_TOPICS["praise"]).format("service"))
    return record, rng.choice(_OPENINGS) + " ".join(told)


def _asked(rng: random.Random, profile: Profile, text: str, answer: str) -> Chat:
    """As the office asks a base without adapter."""
    charter = Charter(words.mission(rng) if rng.random() < 0.7 else "")
    return (*baseline_messages(profile, text, charter=charter), Message("assistant", answer))


def _system(rng: random.Random) -> str:
    if rng.random() < 0.4:
        return ""
    profile = Profile(rng.choice(words.FIRST).casefold(), Skill.WRITE, "Answer what you are asked.")
    return Charter(words.mission(rng) if rng.random() < 0.7 else "").system_prompt(profile)
