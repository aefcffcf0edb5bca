"""What a click was on: role, box in its window, label. At the endpoint as shown, behind the redactor with a label that passed.

Promises  a role is a word of a closed list, so that nothing can be said by one; of what is typed into a field no label tells.
Refuses   (Forged, `malformed`) another role, a longer label, a place in the batch where there is no click.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from byleave.core.codec import Record
from byleave.core.errors import Forged

LABEL_CHARS_MAX = 80
UNKNOWN = "unknown"
PASSWORD = "password"  # noqa: S105 - the name of a role
"""The role of a field for passwords. It never travels: a click on one is not captured."""
_WORDS = (
    "unknown alert button canvas cell checkbox column_header combobox dialog document entry heading icon image label link "
    "list list_item menu menu_item page_tab panel paragraph progress radio scrollbar slider spin statusbar table terminal text "
    "toggle toolbar tree tree_item video window"
)
ROLES = frozenset(_WORDS.split())
_BOX_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Target:
    """`role` is a word of ROLES; the box is in pixels from the window's upper left corner, all 0 where it is not known."""

    role: str = UNKNOWN
    x: int = 0
    y: int = 0
    width: int = 0
    height: int = 0
    label: str = field(default="", repr=False)

    @property
    def box(self) -> tuple[int, int, int, int]:
        return self.x, self.y, self.width, self.height

    def record(self, place: int) -> Record:
        """As it travels: `place` is that of its event in the batch, or of its row in the record."""
        return asdict(self) | {"place": place}


def load_targets(rows: Iterable[Record]) -> dict[int, Target]:
    """The reverse of `record`, by place. Raises Forged."""
    found: dict[int, Target] = {}
    for row in rows:
        target = Target(**{name: value for name, value in row.items() if name != "place"})
        fits = target.role in ROLES and len(target.label) <= LABEL_CHARS_MAX and all(abs(n) <= _BOX_MAX for n in target.box)
        if not fits or row["place"] in found:
            raise Forged("a target is of no known role, too long, or named twice", reason="malformed")
        found[row["place"]] = target
    return found
