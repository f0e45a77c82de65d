"""The pictures of docs/explanation/concepts.md are current and show what the page says."""

import pytest

from concept_scenes import PICTURES, Scene, evaluate
from documentation import PROJECT
from draw_concepts import draw


def states(scene: Scene) -> list[str]:
    return [span.label for span in evaluate(scene)[0]]


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_current(name: str) -> None:
    """Mend with `python docs/draw/draw_concepts.py`."""
    assert (PROJECT / "docs" / "images" / name).read_text() == draw(PICTURES[name])


def test_the_states_are_those_that_the_page_describes() -> None:
    (life,), (order,) = PICTURES["concept-life.svg"], PICTURES["concept-order.svg"]
    takeover, reset = PICTURES["concept-versions.svg"]
    kept, lost = PICTURES["concept-gap.svg"]
    assert states(life) == ["unknown", "online", "pending", "online", "pending", "offline"]
    assert states(order) == states(takeover) == ["unknown", "online"]
    assert list(evaluate(order)[1].values()) == ["later", "later", "stale", "stale"]
    # Five seconds are too short to be seen among hours, but they are there.
    assert states(reset) == ["unknown", "online", "pending", "offline", "online"]
    assert states(kept) == ["unknown", "online", "pending", "online"]
    assert states(lost) == ["unknown", "online", "unverified", "online"]
