"""``/v1/embeddings``: the retrieval embedder."""

from __future__ import annotations

import base64
from typing import Any

from interns.errors import InvalidInput, NotFound
from orchestrator.api.openai.bodies import EmbeddingBody
from orchestrator.api.openai.models import embedder_name
from orchestrator.desk import Desk

Json = dict[str, Any]

MOST_TEXTS = 2048


def embed(desk: Desk, body: EmbeddingBody) -> Json:
    """Return one unit vector for each text.

    Raises:
        NotFound: The office has another embedding model.
        InvalidInput: There is no text, or the vectors cannot have the wanted length.
    """
    name = embedder_name(desk)
    if body.model != name:
        raise NotFound(f"There is no embedding model {body.model!r}.", f"Use {name!r}.")
    texts = [body.input] if isinstance(body.input, str) else body.input
    if not texts or len(texts) > MOST_TEXTS or not all(isinstance(t, str) and t for t in texts):
        raise InvalidInput(
            f"input takes 1 to {MOST_TEXTS} texts, none of them empty.",
            "Send texts, not token ids, and more than that in several requests.",
        )
    embedder = desk.embedder.get()
    if body.dimensions not in (None, embedder.dimensions):
        raise InvalidInput(f"{name} has {embedder.dimensions} dimensions.", "Leave them out.")
    plain = [str(text) for text in texts]
    vectors = embedder.embed(plain)
    data = [
        {
            "object": "embedding",
            "index": i,
            "embedding": vector.tolist()
            if body.encoding_format == "float"
            else base64.b64encode(vector.astype("<f4").tobytes()).decode(),
        }
        for i, vector in enumerate(vectors)
    ]
    count = sum(embedder.count_tokens(plain))
    counts = {"prompt_tokens": count, "total_tokens": count}
    return {"object": "list", "data": data, "model": name, "usage": counts}
