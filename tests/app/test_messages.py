"""Messages of the engine as the page shows them."""

import pytest

from nerf_insert.app import messages
from nerf_insert.app.steps import content, edit, mark


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("mark it with --mask or --box", "Mark it with “Paint on photographs” or “Place a box”."),
        ("--up-axis y puts it there!", "“Axis of the file that points up”: y puts it there!"),
        ("--exact-masks keeps the masks as they are", "--exact-masks keeps the masks as they are."),
        ("nothing -- at all - is --not-a-flag-", "Nothing -- at all - is --not-a-flag-."),
    ],
)
def test_flags_are_told_in_the_words_of_the_page(told, shown):
    assert messages.as_sentence(told) == shown


def test_the_page_has_the_widgets_that_messages_name():
    source = "".join(open(module.__file__).read() for module in (content, edit, mark))
    for words in messages.WIDGETS.values():
        if words.startswith("“"):
            assert f'"{words.strip("“”:")}"' in source, words
