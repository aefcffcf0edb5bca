"""The person's page in a real browser, and under attack by raw HTTP: nobody but the person at this machine sees it (P7)."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from byleave.control.bootstrap import dev_site
from byleave.core.errors import Refused, Transient
from byleave.core.settings import load_installation
from byleave.deploy import pki
from byleave.producers.hooks.canary import canary
from byleave.producers.inquiries import ask
from byleave.producers.main import Process
from byleave.producers.person import page as served
from byleave.producers.person.page import Desk, Page

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
WORDS = [
    "Office <work>",
    "  Where:    only in xterm; nowhere else",
    "  You can take this back at any time. To be silent is to say:",
    "  no",
]
RECEIPT = {"removals": {"password": 14}, "captured": 4_200, "written": 4_000, "removed": 190, "refused": 0, "gaps": 4,
           "held": 8, "held_before": 2}  # fmt: skip
HOSTILE = "<script>document.title='hacked'</script>"


class Endpoint:
    """What the page stands on: an agent's answers, and what its buttons changed."""

    def __init__(self, folder: Path) -> None:
        self.now_s, self.paused, self.withdrawn, self.fails = 1_000.0, False, 0, False
        changes = {"pause": lambda: self.set(True), "resume": lambda: self.set(False), "withdraw": self.withdraw}
        self.page = Page(Desk(folder, self.ask, changes), lambda: self.now_s)
        self.folder = folder

    def set(self, paused: bool) -> None:
        self.paused = paused

    def withdraw(self) -> None:
        if self.fails:
            raise Refused("your key is not here", reason="no-key")
        self.withdrawn += 1

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        if self.fails:
            raise Transient("the agent is busy")
        if question["ask"] == "show":
            return {"lines": ["14:02:11 xterm key h", HOSTILE]}
        answer = "not capturing: paused by you, until you lift it" if self.paused else "capturing"
        today = {
            "minutes": {"xterm": 61, HOSTILE: 0.4},
            "counts": {"keys": 4_100},
            "gaps": 0,
            "near_focus": 3,
            "receipt": RECEIPT,
            "captured": 4_203,
            "never": {"tax": 1},
        }
        status = {"capturing": not self.paused, "answer": answer}
        return {"status": status, "today": today, "words": WORDS, "paused": self.paused}


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[Endpoint]:
    made = Endpoint(tmp_path)
    yield made
    made.page.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        yield driver.chromium.launch(executable_path="/usr/bin/chromium", args=list(FLAGS))


# -- in a browser -----------------------------------------------------------------------------------------------------


@pytest.mark.display
def test_a_person_opens_it_sees_what_is_so_pauses_resumes_and_withdraws_without_a_script(
    endpoint: Endpoint, browser: Browser
) -> None:
    opened = endpoint.page.open({"at": "today"})
    tab = browser.new_context(java_script_enabled=False).new_page()
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(Path(opened["file"]).as_uri())  # as the sign and the command start it
    tab.get_by_role("heading", name="Recorded", level=1).wait_for()
    assert tab.url.endswith("/#today")
    assert not Path(opened["file"]).exists()
    text = tab.inner_text("main")
    for part in (
        "61 min", "under 1 min", HOSTILE, "keys\n4,100", "change of window\n3", "password\n14", "tax\n1", "Office <work>",
        "only in xterm", "Receipts: 4,200 events = 4,000 written + 190 removed + 0 refused + 4 gaps + 6 held. 3 stand in",
        "To be silent is to say: no",
    ):  # fmt: skip
        assert part in text, part
    assert "14:02:11" not in text, "the last minutes are shown on request only"
    tab.get_by_role("button", name="Pause").press("Enter")
    tab.get_by_role("heading", name="Paused", level=1).wait_for()
    assert endpoint.paused
    tab.get_by_role("button", name="Show the last five minutes").click()
    tab.get_by_text("14:02:11 xterm key h").wait_for()
    tab.get_by_role("button", name="Resume").click()
    tab.get_by_role("heading", name="Recorded", level=1).wait_for()
    tab.get_by_text("Withdraw my consent").click()
    tab.get_by_role("button", name="Withdraw", exact=True).click()
    assert endpoint.withdrawn == 0, "the box was not ticked"
    tab.get_by_role("checkbox", name="I no longer agree").check()
    with tab.expect_navigation():
        tab.get_by_role("button", name="Withdraw", exact=True).click()
    assert (endpoint.withdrawn, endpoint.paused) == (1, False)
    assert tab.goto(opened["link"]).status == 403, "a link works once"
    origin = opened["link"].rsplit("/", 1)[0]
    assert all(url.startswith((origin, "file:")) for url in asked)
    stranger = browser.new_context().new_page()
    assert stranger.goto(origin + "/").status == 403
    assert "61 min" not in stranger.content()


@pytest.mark.display
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_with_keyboard_small_screen_and_poor_sight(endpoint: Endpoint, browser: Browser, scheme: str) -> None:
    tab = browser.new_context(color_scheme=scheme, viewport={"width": 360, "height": 700}).new_page()
    tab.goto(endpoint.page.open({})["link"])
    tab.get_by_role("heading", level=1).wait_for()
    tab.wait_for_load_state()
    assert tab.evaluate("document.title") == "Recorded · byleave", "markup of others became ours"
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    assert tab.evaluate("document.documentElement.lang") == "en"
    levels = tab.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert set(levels[1:]) == {2}
    assert tab.evaluate("[...document.querySelectorAll('section')].every(s => !s.ariaLabelledByElements || "
                        "s.ariaLabelledByElements.length === 1)")  # fmt: skip
    assert tab.evaluate("[...document.querySelectorAll('input:not([type=hidden])')].every(i => i.labels.length === 1)")
    poor = tab.evaluate(CONTRAST)
    assert not poor, poor
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Pause", "what stops it comes first"
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"


CONTRAST = """() => {
  const part = c => { c /= 255; return c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4 };
  const light = rgb => { const [r, g, b] = rgb.match(/[\\d.]+/g).map(Number);
    return .2126 * part(r) + .7152 * part(g) + .0722 * part(b) };
  const ground = e => { for (; e; e = e.parentElement) {
    const c = getComputedStyle(e).backgroundColor; if (!c.startsWith('rgba(0, 0, 0, 0')) return c } return 'rgb(255,255,255)' };
  return [...document.querySelectorAll('main *')].filter(e => e.checkVisibility() &&
      [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())).map(e => {
    const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
    return [e.textContent.slice(0, 30), (a + .05) / (b + .05)] }).filter(row => row[1] < 4.5) }"""


# -- under attack -----------------------------------------------------------------------------------------------------


class Client:
    """Somebody who speaks HTTP to the page as they like."""

    def __init__(self, link: str) -> None:
        self.host, self.token = re.fullmatch("http://([^/]+)/([0-9a-f]{32})", link).groups()
        self.cookie = self.csrf = ""

    def send(self, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, dict[str, str], str]:
        talk = http.client.HTTPConnection(self.host, timeout=10)
        told = {"Host": self.host, **({"Cookie": self.cookie} if self.cookie else {}), **headers}
        talk.request(method, path, body, {name.replace("_", "-"): value for name, value in told.items()})
        answer = talk.getresponse()
        found = answer.status, dict(answer.headers), answer.read().decode()
        talk.close()
        return found

    def enter(self) -> None:
        status, headers, _ = self.send("GET", "/" + self.token)
        assert status == 200
        self.cookie = headers["Set-Cookie"].partition(";")[0]
        self.csrf = re.search('name="csrf" value="([0-9a-f]{32})"', self.send("GET", "/")[2]).group(1)

    def press(self, path: str, csrf: str | None = None, **headers: str) -> int:
        told = {"Origin": f"http://{self.host}", **headers}
        return self.send("POST", path, f"csrf={self.csrf if csrf is None else csrf}", **told)[0]


@pytest.fixture
def person(endpoint: Endpoint) -> Client:
    made = Client(endpoint.page.open({})["link"])
    made.enter()
    return made


def test_what_it_serves_may_load_and_keep_nothing(person: Client) -> None:
    fresh = Client(f"http://{person.host}/{'0' * 32}")
    for path in ("/", "/page.css", "/nothing", "/" + "0" * 32):
        _, headers, body = person.send("GET", path)
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self';")
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "same-origin"
        assert "<script" not in body
        assert "Set-Cookie" not in headers
    assert fresh.send("GET", "/")[0] == 403


def test_a_link_works_once_a_new_one_voids_it_and_the_browser_before_is_out(endpoint: Endpoint) -> None:
    first, second = Client(endpoint.page.open({})["link"]), Client(endpoint.page.open({})["link"])
    status, headers, _ = first.send("GET", "/" + first.token)
    assert (status, "Set-Cookie" in headers) == (403, False)
    _, headers, _ = second.send("GET", "/" + second.token)
    assert all(part in headers["Set-Cookie"] for part in ("; HttpOnly", "; SameSite=Strict", "; Path=/"))
    second.enter_again = second.send("GET", "/" + second.token)
    assert second.enter_again[0] == 403
    second.cookie = headers["Set-Cookie"].partition(";")[0]
    assert second.send("GET", "/")[0] == 200
    third = Client(endpoint.page.open({})["link"])
    third.enter()
    assert second.send("GET", "/")[0] == 403
    assert second.send("GET", "/", Cookie=f"byleave-{second.host[10:]}=é")[0] == 403


@pytest.mark.parametrize("host", ["evil.example:{port}", "localhost:{port}", "127.0.0.1", "127.0.0.1:1", "", "[::1]:{port}"])
def test_another_name_for_this_machine_gets_nothing(person: Client, host: str) -> None:
    status, _, body = person.send("GET", "/", Host=host.format(port=person.host[10:]))
    assert (status, "61 min" in body) == (403, False)


@pytest.mark.parametrize("origin", ["null", "https://evil.example", "http://127.0.0.1:1", "http://localhost"])
def test_a_page_from_elsewhere_can_change_and_read_nothing(endpoint: Endpoint, person: Client, origin: str) -> None:
    assert person.press("/pause", Origin=origin) == 403
    assert person.send("GET", "/", Origin=origin)[0] == 403
    assert not endpoint.paused


def test_a_change_needs_post_the_origin_the_token_and_the_cookie(endpoint: Endpoint, person: Client) -> None:
    assert person.send("GET", "/pause")[0] == 404
    assert person.send("POST", "/pause", f"csrf={person.csrf}")[0] == 403  # no Origin
    for csrf in ("", "0" * 32, "é"):
        assert person.press("/pause", csrf) in (400, 403)
    assert person.press("/pause", Cookie=f"byleave-{person.host[10:]}={'0' * 32}") == 403
    assert person.press("/pause", Cookie="") == 403
    assert person.press("/erase-everything") == 404
    assert person.press("/withdraw") == 200  # the page again: the box was not ticked
    assert (endpoint.paused, endpoint.withdrawn) == (False, 0)
    assert person.press("/pause") == 303
    assert endpoint.paused


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another account")
def test_another_account_gets_nothing_not_even_with_the_link_or_the_cookie(endpoint: Endpoint, person: Client) -> None:
    link = endpoint.page.open({})["link"]
    code = (
        "import http.client, sys\n"
        "for path in sys.argv[3:]:\n"
        "    talk = http.client.HTTPConnection(sys.argv[1], timeout=10)\n"
        "    try:\n"
        "        talk.request('GET', path, headers={'Cookie': sys.argv[2]}); print(talk.getresponse().status)\n"
        "    except (ConnectionError, http.client.HTTPException): print('closed')\n"
    )
    words = ["/usr/bin/python3", "-c", code, person.host, person.cookie, "/", "/" + link[-32:]]
    told = subprocess.run(words, user=65534, group=65534, extra_groups=[], cwd="/", capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["closed", "closed"]
    Client(link).enter()  # it was not used up


def test_who_comes_from_another_address_is_not_taken_for_the_browser_at_the_same_port(person: Client) -> None:
    host, _, port = person.host.partition(":")
    with socket.create_connection((host, int(port))) as browser, socket.socket() as other:
        other.bind(("127.0.0.2", browser.getsockname()[1]))
        other.connect((host, int(port)))
        other.settimeout(5)
        with contextlib.suppress(ConnectionError):
            other.sendall(f"GET /page.css HTTP/1.0\r\nHost: {person.host}\r\n\r\n".encode())
            assert other.recv(100) == b""


def test_too_much_is_refused_and_the_slow_are_cut_off(
    endpoint: Endpoint, person: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = {"Origin": f"http://{person.host}"}
    assert person.send("POST", "/pause", "csrf=" + "0" * 2_000, **origin)[0] == 413
    assert person.send("POST", "/pause", None, **origin, Content_Length="-1")[0] == 411
    assert person.send("POST", "/pause", None, **origin, Transfer_Encoding="chunked")[0] == 411
    assert person.send("GET", "/" + "a" * 70_000)[0] == 414
    assert person.send("BREW", "/")[0] == 501
    monkeypatch.setattr(served, "TALK_S", 0.4)
    address, port = person.host.split(":")
    slow = [socket.create_connection((address, int(port)), 10) for _ in range(served.THREADS_MAX)]
    for talk in slow:
        talk.sendall(b"GET / HTTP/1.1\r\nHost: ")
    time.sleep(0.1)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        person.send("GET", "/")  # no thread is left for now
    began = time.monotonic()
    for talk in slow:
        with pytest.raises(ConnectionError):
            while time.monotonic() - began < 5:  # drips: each byte would be in time by itself
                talk.sendall(b"a")
                time.sleep(0.05)
        talk.close()
    assert person.send("GET", "/")[0] == 200
    assert not endpoint.paused


def test_it_ends_when_nobody_used_it_for_ten_minutes_and_a_link_begins_another(endpoint: Endpoint, person: Client) -> None:
    endpoint.now_s += served.IDLE_S - 1
    assert person.send("GET", "/")[0] == 200
    endpoint.now_s += served.IDLE_S - 1
    for stranger in ("/", "/page.css", "/" + "0" * 32):
        Client(f"http://{person.host}/{'0' * 32}").send("GET", stranger)  # these are no use
    endpoint.now_s += 2
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            person.send("GET", "/page.css")
        except OSError:
            break
        time.sleep(0.05)
    else:
        pytest.fail("it was still served")
    assert not (endpoint.folder / served.FILE).exists()
    other = Client(endpoint.page.open({})["link"])
    other.enter()
    other.cookie, kept = person.cookie, other.cookie
    assert other.send("GET", "/")[0] == 403
    other.cookie = kept
    assert other.send("GET", "/")[0] == 200


def test_the_running_agent_serves_it_and_a_press_stops_it(tmp_path: Path) -> None:
    pki.ensure_pki(tmp_path, ["ep-a"])
    dev_site(tmp_path, "byleave.", [("ep-a", "subject-a", "team-1")], 1_800_000_000_000, os.urandom, consent=True)
    process = Process(load_installation({"BYLEAVE_HOME": str(tmp_path)}), "ep-a", canary(), lambda _: False)
    folder, told = tmp_path / "endpoints" / "ep-a", list[object]()

    def visit() -> None:
        client = Client(ask(folder, {"ask": "open"})["link"])
        client.enter()
        told.extend((client.send("GET", "/")[2], client.press("/pause"), client.send("GET", "/")[2]))

    process.person.listen()
    visitor = threading.Thread(target=visit)
    visitor.start()
    while visitor.is_alive():
        process.person.answer(0.01)
    process.close()
    before, pressed, after = told
    assert ("<h1>" in before, "Paused" in before, pressed, "Paused" in after) == (True, False, 303, True)
    assert (folder / "pause").exists()
    assert not (folder / served.FILE).exists()


def test_what_cannot_be_done_or_known_is_said(endpoint: Endpoint, person: Client) -> None:
    endpoint.fails = True
    told = {"Origin": f"http://{person.host}"}
    status, _, body = person.send("POST", "/withdraw", f"csrf={person.csrf}&sure=yes", **told)
    assert (status, "your key is not here" in body) == (200, True)
    assert "Not recorded" in body
    assert "the agent does not answer" in body.lower()
    assert endpoint.withdrawn == 0


def test_the_file_that_leads_to_it_is_the_persons_alone(endpoint: Endpoint) -> None:
    opened = endpoint.page.open({"at": '"><script>'})
    assert Path(opened["file"]).stat().st_mode & 0o077 == 0
    assert "<script" not in Path(opened["file"]).read_text()
    assert sys.getsizeof(opened["link"]) < 200
