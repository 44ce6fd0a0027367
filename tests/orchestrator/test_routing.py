"""Who takes a text, how sure, or nobody: on the real embedding model and small offices."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator.routing import Router, read_out_of_scope
from retrieval.embedder import Embedder

EXEMPLARS = {
    "triage": [
        "My card was declined at the supermarket.",
        "I was charged twice for the same order.",
        "Where is my parcel? It should have come on Monday.",
        "The app logs me out every time I open it.",
        "I want my money back for the broken kettle.",
        "Please cancel my subscription.",
        "How do I change the address of my order?",
        "My voucher code does not work.",
        "The courier left my package in the rain.",
        "I cannot reset my password.",
        "You sent me the wrong size.",
        "My invoice shows the wrong name.",
    ],
    "interviewer": [
        "Tell me about a time you disagreed with your manager.",
        "What is your greatest weakness?",
        "Why do you want to work here?",
        "Describe a conflict in your team and how you solved it.",
        "Where do you see yourself in five years?",
        "Tell me about a project you are proud of.",
        "How do you handle pressure at work?",
        "Give an example of when you showed leadership.",
        "Why did you leave your last job?",
        "What motivates you?",
        "How do you prioritise when everything is urgent?",
        "Describe a mistake you made and what you learned.",
    ],
    "guide": [
        "How do I add an intern?",
        "What does the exam compare?",
        "Where are my documents stored?",
        "How can I roll back to an earlier version?",
        "What happens when an approval is rejected?",
        "Which file formats can be indexed?",
        "How do I move the data directory?",
        "What is the charter for?",
        "How do I stop the daemon?",
        "Does it work without a network?",
        "What is the minimum number of training rows?",
        "How do I export an adapter?",
    ],
}
ROLES = {
    "triage": "Sorts customer messages.",
    "interviewer": "Answers interview questions.",
    "guide": "Answers questions about this product from its documents.",
}


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder()


@pytest.fixture(scope="module")
def router(embedder: Embedder) -> Router:
    return Router(embedder).fit(EXEMPLARS, ROLES)


@pytest.mark.parametrize(
    ("text", "intern"),
    [
        ("My package never arrived and I want a refund.", "triage"),
        ("The checkout page takes my payment twice.", "triage"),
        ("Tell me about a time when you had to work with a difficult colleague.", "interviewer"),
        ("What are your strengths?", "interviewer"),
        ("How do I go back to the previous version of an intern?", "guide"),
        ("Where does the product keep indexed documents?", "guide"),
    ],
)
def test_the_right_intern_is_chosen_when_one_fits(router: Router, text: str, intern: str) -> None:
    route = router.route(text)

    assert route.intern == intern
    assert route.score >= route.threshold
    assert route.candidates[0] == (intern, route.score)
    assert {name for name, _ in route.candidates} == set(EXEMPLARS)


@pytest.mark.parametrize(
    "text",
    [
        "Which mountain range separates Europe from Asia?",
        "Play some jazz in the living room.",
        "What is the boiling point of mercury?",
        "ghjk ghjk",
        "",
        "   ",
    ],
)
def test_nobody_is_chosen_when_nobody_fits(router: Router, text: str) -> None:
    route = router.route(text)

    assert route.intern is None
    assert route.score < route.threshold
    assert "Nobody fits" in route.why
    assert len(route.candidates) == 3


def test_scores_are_ordered_probabilities_when_routed(router: Router) -> None:
    scores = [score for _, score in router.route("I want my money back.").candidates]

    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


def test_roles_route_when_interns_have_no_exemplars(embedder: Embedder) -> None:
    router = Router(embedder).fit({"cook": [], "lawyer": []}, {
        "cook": "Writes recipes and plans meals.",
        "lawyer": "Explains contracts and tenancy law.",
    })  # fmt: skip

    assert router.route("Plan a recipe for dinner.").candidates[0][0] == "cook"
    assert router.route("Is this clause of my tenancy contract legal?").candidates[0][0] == "lawyer"
    assert router.route("How far is the moon?").intern is None


def test_one_intern_takes_only_its_own_when_it_is_alone(embedder: Embedder) -> None:
    router = Router(embedder).fit({"triage": EXEMPLARS["triage"]}, ROLES)

    assert router.route("My order came damaged, please refund it.").intern == "triage"
    assert router.route("What is the tallest tree?").intern is None


def test_nobody_is_chosen_when_no_intern_is_in_office(embedder: Embedder) -> None:
    router = Router(embedder).fit({}, {})

    route = router.route("anything")

    assert (route.intern, route.score, route.candidates) == (None, 0.0, ())
    assert Router(embedder).route("not fitted yet").intern is None


def test_a_text_goes_to_nobody_when_people_said_so(embedder: Embedder) -> None:
    refused = ["Book me a meeting room for tomorrow.", "Reserve the big room on Friday."]
    text = "Please book the small meeting room."

    before = Router(embedder).fit(EXEMPLARS, ROLES).route(text)
    after = Router(embedder).fit(EXEMPLARS, ROLES, refused).route(text)

    assert after.score < before.score
    assert after.intern is None


def test_the_given_threshold_decides_when_there_is_one(embedder: Embedder) -> None:
    assert Router(embedder, 0.0).fit(EXEMPLARS, ROLES).route("ghjk").intern is not None
    assert Router(embedder, 1.0).fit(EXEMPLARS, ROLES).route("Refund me.").intern is None


def test_a_good_passage_raises_the_score_when_an_intern_answers_from_documents(
    router: Router,
) -> None:
    text = "Who waters the plants in the lobby?"

    plain = dict(router.route(text).candidates)
    weak = dict(router.route(text, {"guide": 0.1}).candidates)
    strong = router.route(text, {"guide": 0.75})

    assert weak["guide"] == pytest.approx(plain["guide"])
    assert strong.intern == "guide"
    assert strong.score <= 0.9
    assert dict(strong.candidates)["triage"] == pytest.approx(plain["triage"])


def test_routing_is_the_same_when_fitted_again(router: Router, embedder: Embedder) -> None:
    text = "My voucher does not work."

    again = Router(embedder).fit(EXEMPLARS, ROLES).fit(EXEMPLARS, ROLES)

    assert again.route(text) == router.route(text)


def test_routes_agree_when_many_threads_ask(router: Router) -> None:
    with ThreadPoolExecutor(4) as pool:
        routes = list(pool.map(router.route, ["Where is my parcel?"] * 16))

    assert all(route.intern == "triage" for route in routes)
    assert max(route.score for route in routes) - min(route.score for route in routes) < 1e-4


def test_the_threshold_separates_when_fitted(router: Router) -> None:
    assert 0.05 < router.threshold < 0.8


def test_shipped_texts_are_varied_when_read() -> None:
    texts = read_out_of_scope()

    assert len(texts) >= 300
    assert len({text.lower() for text in texts}) == len(texts)
