"""The clocks that decisions rest on: they go on, whatever happens to the wall clock (P2, threat T7)."""

from __future__ import annotations

from pathlib import Path

import pytest

from byleave.core.clock import anchored, boot_ms, boot_name


class Machine:
    def __init__(self, kept: Path) -> None:
        self.kept, self.name, self.wall, self.boot = kept, "boot-1", 1_000_000, 500

    def start(self):
        return anchored(self.kept, self.name, lambda: self.wall, lambda: self.boot)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "clock.json")


def test_an_anchored_clock_does_not_move_when_the_wall_clock_is_set(machine: Machine) -> None:
    now_ms = machine.start()
    machine.wall += 3_600_000
    machine.boot += 40
    assert now_ms() == 1_000_040


def test_nor_when_the_process_is_restarted_after_it(machine: Machine) -> None:
    machine.start()
    machine.wall += 3_600_000
    machine.boot += 70
    assert machine.start()() == 1_000_070


def test_another_boot_begins_at_the_wall_clock(machine: Machine) -> None:
    machine.start()
    machine.name, machine.wall, machine.boot = "boot-2", 2_000_000, 5
    assert machine.start()() == 2_000_000
    machine.wall += 9
    assert machine.start()() == 2_000_000, "and is kept from then on"


def test_where_a_boot_has_no_name_each_process_begins_anew(machine: Machine) -> None:
    machine.name = ""
    machine.start()
    machine.wall += 100
    assert machine.start()() == 1_000_100


@pytest.mark.parametrize("spoiled", [b"", b"{", b"[]", b'{"boot": "boot-1"}', b'{"boot": "boot-1", "ahead_ms": "x"}', b"\xff"])
def test_a_damaged_file_is_none(machine: Machine, spoiled: bytes) -> None:
    machine.kept.write_bytes(spoiled)
    assert machine.start()() == 1_000_000


def test_the_boot_clock_only_goes_on_and_this_boot_keeps_its_name() -> None:
    assert boot_ms() <= boot_ms()
    assert boot_name() == boot_name()
