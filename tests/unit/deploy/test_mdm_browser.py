"""The managed extension asks for no more than it says, and its files name each other."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from byleave.producers.browser_host import Frames, check_caller

MDM = Path(__file__).resolve().parents[3] / "deploy" / "mdm" / "browser"


def read(name: str) -> Any:
    return json.loads((MDM / name).read_text(encoding="utf-8"))


MANIFEST = read("extension/manifest.json")
LETTERS = str.maketrans("0123456789abcdef", "abcdefghijklmnop")
IDS = {
    "chromium": hashlib.sha256(base64.b64decode(MANIFEST["key"])).hexdigest()[:32].translate(LETTERS),
    "firefox": MANIFEST["browser_specific_settings"]["gecko"]["id"],
}  # fmt: skip


def test_it_asks_to_talk_to_its_host_and_for_nothing_else_and_stays_out_of_private_windows() -> None:
    assert MANIFEST["permissions"] == ["nativeMessaging"]
    assert MANIFEST["incognito"] == "not_allowed"
    asked = {"host_permissions", "optional_permissions", "optional_host_permissions", "externally_connectable"}
    assert not asked & set(MANIFEST)


def test_its_pages_script_reads_no_text_no_title_and_no_address() -> None:
    script = "\n".join(
        line.partition("//")[0] for line in (MDM / "extension" / "page.js").read_text(encoding="utf-8").splitlines()
    )
    assert not re.findall(
        r"\.value\b|\.title\b|\.href\b|innerText|textContent|innerHTML|\bfetch\b|XMLHttp|clipboard|cookie", script
    )
    assert re.findall(r"\blocation\.\w+", script) == ["location.ancestorOrigins"]
    assert re.findall(r"postMessage\((.*?)\);", script) == ["{ here: yes, at: now, jammed }"]


def test_policies_and_native_hosts_name_the_extension_that_is_there() -> None:
    assert list(read("chromium/policy.json")["ExtensionSettings"]) == [IDS["chromium"]]
    assert list(read("firefox/policies.json")["policies"]["ExtensionSettings"]) == [IDS["firefox"]]
    assert read("chromium/org.byleave.site.json")["allowed_origins"] == [f"chrome-extension://{IDS['chromium']}/"]
    assert read("firefox/org.byleave.site.json")["allowed_extensions"] == [IDS["firefox"]]
    name = re.search(r'HOST = "([a-z.]+)"', (MDM / "extension" / "background.js").read_text(encoding="utf-8"))
    assert name is not None
    hosts = [read(f"{browser}/org.byleave.site.json")["name"] for browser in IDS]
    assert {name[1], *hosts, *read("chromium/policy.json")["NativeMessagingAllowlist"]} == {"org.byleave.site"}


@pytest.mark.parametrize(
    ("browser", "caller"),
    [("chromium", [f"chrome-extension://{IDS['chromium']}/"]), ("firefox", ["/usr/lib/x.json", IDS["firefox"]]), ("", ["chrome-extension://x/"])],
)  # fmt: skip
def test_the_host_is_started_for_this_person_and_for_the_extension_that_calls(
    tmp_path: Path, browser: str, caller: list[str]
) -> None:
    (tmp_path / "byleave").mkdir()
    (tmp_path / "byleave" / "site.env").write_text("ENDPOINT=ep-a\n")
    program = tmp_path / "byleave-program"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    start = (MDM / "browser-host").read_text(encoding="utf-8").replace("/opt/byleave/bin/byleave", str(program))
    environment = {"XDG_CONFIG_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    said = subprocess.run(
        ["sh", "-c", start, "host", *caller], env=environment, capture_output=True, text=True, timeout=30, check=True
    )
    words = said.stdout.splitlines()
    assert words[:5] == ["run", "browser-host", "--endpoint", "ep-a", "--extension"]
    assert words[6:] == caller
    assert words[5] in IDS.values()
    if browser:
        check_caller(words[5], words[6:])


def test_what_the_extension_sends_is_what_the_host_reads() -> None:
    script = (MDM / "extension" / "background.js").read_text(encoding="utf-8")
    sent = re.search(r"host\.postMessage\(\{ (\w+), (\w+), (\w+):", script)
    assert sent is not None
    body = json.dumps(dict(zip(sent.groups(), (1, 2, "x"), strict=True))).encode()
    assert list(Frames().feed(len(body).to_bytes(4, sys.byteorder) + body)) == [(1, 2, "x")]
