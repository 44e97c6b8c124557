"""Messages to people: engine messages as sentences, and those that several parts of the page share."""

from __future__ import annotations

OUT_OF_MEMORY = "There is not enough memory: close other programs and try again."
INTERNAL_ERROR = "Something in NeRF-Insert failed; see the terminal that it runs in for details."


def as_sentence(text: object) -> str:
    """Return a message with a capital first letter and a final punctuation mark."""
    words = str(text).strip()
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "!", "?")) else ".")
