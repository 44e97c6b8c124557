"""Changes made to the list of arguments before argparse reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

RENAMED_FLAGS: dict[str, dict[str, str]] = {  # command -> old flag -> new flag
    "edit": {"--again": "--force"},
}


def replace_deprecated(
    words: Sequence[str], renamed: Mapping[str, Mapping[str, str]] = RENAMED_FLAGS
) -> tuple[list[str], list[str]]:
    """Replace flags that were renamed by their new names.

    Args:
        words: The arguments; the first one that does not start with "-" is the command.
        renamed: For each command, the new flag of every old one.

    Returns:
        The arguments to parse, and one warning for each old flag.
    """
    command = next((word for word in words if not word.startswith("-")), "")
    table = renamed.get(command, {})
    new_words: list[str] = []
    used: dict[str, str] = {}
    for position, word in enumerate(words):
        if word == "--":  # everything after it is a value
            new_words += words[position:]
            break
        flag, equals, value = word.partition("=")
        if flag in table:
            used[flag] = table[flag]
            word = table[flag] + equals + value
        new_words.append(word)
    return new_words, [f"{old} is deprecated: use {new}" for old, new in used.items()]


def repeat_masks(words: Sequence[str]) -> list[str]:
    """Write `--mask A=a.png B=b.png` as `--mask A=a.png --mask B=b.png`.

    Only words with an "=" belong to the flag, so that a scene folder may follow the masks.
    """
    repeated: list[str] = []
    after_mask = False
    for word in words:
        is_pair = "=" in word and not word.startswith("-")
        if after_mask and repeated[-1] != "--mask" and is_pair:
            repeated.append("--mask")
        after_mask = word == "--mask" or (after_mask and is_pair)
        repeated.append(word)
    return repeated
