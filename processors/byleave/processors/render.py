"""Action rows as the strings that trainers use: pyautogui calls. Pure.

The form is that of AgentNet (OpenCUA, MIT): places are fractions of the screen with four decimals.
"""

from __future__ import annotations

from byleave.core.rows import ActionKind, ActionRow

_CLICKS = {ActionKind.CLICK: "click", ActionKind.DOUBLE_CLICK: "doubleClick", ActionKind.TRIPLE_CLICK: "tripleClick"}
_ONE_CLICK = {"right": "rightClick", "middle": "middleClick"}
_NAMES = {"cmd": "command", "alt_gr": "altright", "media_play_pause": "playpause", "media_next": "nexttrack",
          "media_previous": "prevtrack", "media_volume_down": "volumedown", "media_volume_up": "volumeup",
          "media_volume_mute": "volumemute"}  # fmt: skip


def pyautogui(row: ActionRow) -> str:
    """The calls that do what the row says; empty for marks, and for an action without a place that needs one."""
    if row.kind is ActionKind.TYPE:
        return f"pyautogui.write(message={row.text!r})"
    if row.kind in (ActionKind.PRESS, ActionKind.HOTKEY):
        call = "press" if row.kind is ActionKind.PRESS else "hotkey"
        return f"pyautogui.{call}(keys={[_NAMES.get(key, key.replace('_', '')) for key in row.keys]!r})"
    return _pointed(row, _place(row.x, row.y)) if row.x >= 0 else ""


def _pointed(row: ActionRow, place: str) -> str:
    if row.kind in _CLICKS:
        return _click(row, place)
    if row.kind is ActionKind.DRAG:
        return f"pyautogui.moveTo({place})\npyautogui.dragTo({_place(row.to_x, row.to_y)}, button={row.button!r})"
    turns = [f"pyautogui.{call}({steps})" for call, steps in (("scroll", row.dy), ("hscroll", row.dx)) if steps]
    return "\n".join([f"pyautogui.moveTo({place})", *turns])


def _click(row: ActionRow, place: str) -> str:
    if row.button == "left" or not row.button:
        return f"pyautogui.{_CLICKS[row.kind]}({place})"
    if row.kind is ActionKind.CLICK:
        return f"pyautogui.{_ONE_CLICK[row.button]}({place})"
    return f"pyautogui.{_CLICKS[row.kind]}({place}, button={row.button!r})"


def _place(x: float, y: float) -> str:
    return f"x={round(x, 4)}, y={round(y, 4)}"
