"""A real window for the tests of targets, run by the system's own Python: a button, an entry and an entry for a password.

Says on standard output, once it is shown, `ready` and then a line for each widget: its name, its place and size in the window.
"""

import signal
import sys

import gi

gi.require_version("Gtk", "3.0")
from gi.repository import GLib, Gtk  # noqa: E402

window = Gtk.Window(title="Expenses")
window.set_wmclass("expenses", "expenses")
box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=12)
button, entry, password = Gtk.Button(label="Save"), Gtk.Entry(text="already written"), Gtk.Entry(visibility=False)
password.set_input_purpose(Gtk.InputPurpose.PASSWORD)
WIDGETS = {"button": button, "entry": entry, "password": password}
for widget in WIDGETS.values():
    box.pack_start(widget, True, True, 6)
window.add(box)
window.set_default_size(400, 300)
window.connect("destroy", Gtk.main_quit)
window.show_all()
window.move(100, 80)


def say():
    """Once all has its place."""
    places = [(name, widget.get_allocation()) for name, widget in WIDGETS.items()]
    lines = ["ready", *(f"{name} {at.x} {at.y} {at.width} {at.height}" for name, at in places)]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    return False


def unveil():
    password.set_visibility(True)
    return True


GLib.timeout_add(300, say)
GLib.unix_signal_add(GLib.PRIORITY_HIGH, signal.SIGUSR1, unveil)
Gtk.main()
sys.exit(0)
