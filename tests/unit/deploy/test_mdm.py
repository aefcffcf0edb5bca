"""What administrators are given is well formed, grants no more than it says, and hides nothing (P1)."""

from __future__ import annotations

import plistlib
import re
from pathlib import Path
from xml.etree import ElementTree

from byleave.core import settings

MDM = Path(__file__).resolve().parents[3] / "deploy" / "mdm"
NAMESPACE = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"


def test_the_privacy_profile_grants_no_input_monitoring_and_names_one_signed_program() -> None:
    profile = plistlib.loads((MDM / "macos" / "byleave-pppc.mobileconfig").read_bytes())
    (payload,) = profile["PayloadContent"]
    assert (profile["PayloadType"], payload["PayloadType"]) == ("Configuration", "com.apple.TCC.configuration-profile-policy")
    identifiers = [one["PayloadUUID"] for one in (profile, payload)]
    assert len(set(identifiers)) == 2
    assert all(re.fullmatch(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", one) for one in identifiers)
    assert payload["Services"].keys() == {"ListenEvent", "Accessibility"}
    rows = [row for service in payload["Services"].values() for row in service]
    assert {row["Identifier"] for row in rows} == {"org.byleave.agent"}
    assert all("anchor apple generic" in row["CodeRequirement"] and "TEAM_ID" in row["CodeRequirement"] for row in rows)
    assert all(("Allowed" in row) is not ("Authorization" in row) for row in rows), "either, and never both"
    (listens,) = payload["Services"]["ListenEvent"]
    assert listens["Authorization"] == "AllowStandardUserToSetSystemService"


def test_the_launch_agent_runs_in_a_persons_session_and_dumps_no_memory() -> None:
    agent = plistlib.loads((MDM / "macos" / "org.byleave.agent.plist").read_bytes())
    assert agent["LimitLoadToSessionType"] == "Aqua"
    assert agent.keys() & {"UserName", "SessionCreate", "LaunchEvents"} == set()
    assert (agent["Umask"], agent["HardResourceLimits"]) == (0o077, {"Core": 0})
    assert agent["KeepAlive"] == {"SuccessfulExit": False}, "who ends it has ended it"


def test_the_scheduled_task_is_visible_and_has_no_rights_of_its_own() -> None:
    task = ElementTree.parse(MDM / "windows" / "byleave-agent.xml").getroot()  # noqa: S314 - our own file
    said = {element.tag.removeprefix(NAMESPACE): (element.text or "").strip() for element in task.iter()}
    assert task.tag == NAMESPACE + "Task"
    assert (said["RunLevel"], said["Hidden"], said["AllowHardTerminate"]) == ("LeastPrivilege", "false", "true")
    assert said["GroupId"] == "S-1-5-32-545"


def test_the_example_settings_are_settings() -> None:
    lines = (MDM / "linux" / "site.env.example").read_text().splitlines()
    names = {line.partition("=")[0] for line in lines if line and not line.startswith("#")}
    assert "ENDPOINT" in names
    assert names - {"ENDPOINT"} <= settings.VARIABLES.keys()
    found = {line.partition("=")[0]: line.partition("=")[2] for line in lines if line.startswith("BYLEAVE_")}
    assert settings.load_installation({**found, "HOME": "/nowhere"}).bootstrap == found["BYLEAVE_BOOTSTRAP"]


def test_the_pages_commands_exist() -> None:
    from typer.testing import CliRunner

    from byleave.deploy.cli import app

    page = (MDM / "README.md").read_text()
    commands = set(re.findall(r"byleave (endpoint|fleet) ([a-z]+)", page))
    assert len(commands) >= 7
    for group, name in sorted(commands):
        assert CliRunner().invoke(app, [group, name, "--help"]).exit_code == 0, f"byleave {group} {name}"
