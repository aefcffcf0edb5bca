"""Who gets which key, over the real server with real certificates; and what the ledger says afterwards."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lake_site import PLANTED, PURPOSE, LakeSite, Stream, files_with

from byleave.control.bootstrap import pinned_root
from byleave.control.documents import Scope
from byleave.core.errors import ByleaveError, Forged, Misconfigured, Refused, Transient
from byleave.core.keyring import KeyringClient, ReadRequest
from byleave.core.levels import Level
from byleave.core.settings import Installation, load_installation
from byleave.deploy.pki import ensure_pki
from byleave.sinks.keyring import Keyring
from byleave.sinks.keyring_main import open_keyring, serve
from byleave.sinks.ledger import verify

KEY_ID = "person-a/2026-11-24/2"
LEVEL_3 = "person-a/2026-11-24/3"


class Running:
    """A keyring that listens, and clients of it by principal."""

    def __init__(self, home: Path) -> None:
        self.site, self.home = LakeSite(home), home
        ensure_pki(home, ["ep-a"])
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.at: Installation = load_installation({"BYLEAVE_HOME": str(home), "BYLEAVE_KEYRING": f"127.0.0.1:{port}"})
        self.keyring: Keyring = self.site.keyring()
        self.server = serve(self.at, self.keyring)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self._clients: dict[str, KeyringClient] = {}

    def client(self, principal: str) -> KeyringClient:
        if principal not in self._clients:
            self._clients[principal] = KeyringClient(self.at.keyring, self.at.certificate(principal))
        return self._clients[principal]

    def entries(self, what: str) -> list[dict[str, Any]]:
        return [line.entry for line in verify(self.home / "ledger") if line.entry["what"] == what]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self.server.shutdown()
        self.server.server_close()
        self.keyring.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path)
    yield running
    running.close()


def request(running: Running, **changes: Any) -> ReadRequest:
    running.client("redactor").data_key(KEY_ID)
    digest = running.site.manifest_digest
    _, ticket = running.client("sink").file_key(2, table="actions", file="ab" * 16, manifests=[digest], key_ids=[KEY_ID],
                                                 endpoints=["ep-a"])  # fmt: skip
    asked = ReadRequest("ann", PURPOSE, 2, "actions", ("text",), 7, (ticket,), (running.site.manifest,))
    return replace(asked, **changes)


def test_the_redactor_makes_a_key_and_the_sink_gets_the_same(running: Running) -> None:
    made = running.client("redactor").data_key(KEY_ID)
    assert running.client("sink").data_key(KEY_ID) == made
    assert running.client("redactor").ask("data-key", {"key_id": KEY_ID})["key"], "and again past the client's memory"
    assert [entry["key_id"] for entry in running.entries("key-made")] == [KEY_ID]


@pytest.mark.parametrize("principal", ["sink", "ml", "review", "enrol", "ops", "security", "beacon", "brake", "ep-a"])
def test_who_may_not_have_a_data_key_gets_none(running: Running, principal: str) -> None:
    running.client("redactor").data_key(LEVEL_3)
    with pytest.raises(Refused) as refused:
        running.client(principal).data_key(LEVEL_3)
    assert refused.value.reason == "not-entitled"


@pytest.mark.parametrize("principal", ["redactor", "ml", "review", "enrol", "ops", "ep-a"])
def test_only_the_sink_gets_file_keys_and_only_enrol_destroys(running: Running, principal: str) -> None:
    with pytest.raises(Refused):
        running.client(principal).file_key(
            2, table="actions", file="ab" * 16, manifests=["a" * 64], key_ids=[], endpoints=["ep-a"]
        )
    if principal != "enrol":
        with pytest.raises(Refused):
            running.client(principal).destroy("person-a")
    assert running.entries("file-key") == running.entries("keys-destroyed") == []


def test_a_release_stands_in_the_ledger_with_all_that_it_was(running: Running) -> None:
    asked = request(running)
    released = running.client("ml").release(asked)
    assert list(released.files) == ["ab" * 16]
    assert released.data == {KEY_ID: running.client("redactor").data_key(KEY_ID)}
    assert running.entries("read") == [{
        "what": "read", "principal": "ml", "person": "ann", "purpose": PURPOSE, "level": 2, "table": "actions",
        "columns": ["text"], "snapshot": 7, "files": ["ab" * 16], "covers": [KEY_ID],
    }]  # fmt: skip


def test_without_the_text_column_no_data_key_leaves(running: Running) -> None:
    assert running.client("ml").release(request(running, columns=("kind",))).data == {}


def test_every_refused_look_is_on_record_and_gives_nothing(running: Running) -> None:
    asked = request(running)
    other = LakeSite(running.home / "other")
    looks = [
        ("ml", replace(asked, purpose="advertising"), "purpose"),
        ("ml", replace(asked, manifests=()), "manifest"),
        ("ml", replace(asked, manifests=(other.manifest,)), "bad-signature"),
        ("ml", replace(asked, level=3), "not-entitled"),
        ("ml", replace(asked, level=1), "level"),
        ("ml", replace(asked, table="events"), "level"),
        ("ml", replace(asked, tickets=()), "malformed"),
        ("ml", replace(asked, tickets=("1." + asked.tickets[0][2:],)), "bad-wrap"),
        ("ops", asked, "not-entitled"),
        ("review", asked, "not-entitled"),
    ]
    for principal, look, reason in looks:
        with pytest.raises(ByleaveError) as refused:
            running.client(principal).release(look)
        assert refused.value.reason == reason
    assert [entry["reason"] for entry in running.entries("read-refused")] == [reason for _, _, reason in looks]
    assert running.entries("read") == []


def test_a_ticket_binds_the_manifest_so_that_a_reader_cannot_choose_another(running: Running) -> None:
    asked = request(running)
    _, foreign = running.client("sink").file_key(2, table="actions", file="cd" * 16, manifests=["f" * 64], key_ids=[KEY_ID],
                                                  endpoints=["ep-a"])  # fmt: skip
    with pytest.raises(Refused) as refused:
        running.client("ml").release(replace(asked, tickets=(asked.tickets[0], foreign)))
    assert refused.value.reason == "manifest"


def test_with_an_unwritable_ledger_no_key_leaves(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = request(running)

    def full(*_: object) -> int:
        raise OSError(28, "no space left")

    monkeypatch.setattr("os.fsync", full)
    for ask in (
        lambda: running.client("ml").release(asked),
        lambda: running.client("redactor").data_key("person-z/2026-11-24/2"),
    ):
        with pytest.raises(ByleaveError) as refused:
            ask()
        assert refused.value.reason == "ledger"
    monkeypatch.undo()
    assert running.client("ml").release(asked).entry == len(list(verify(running.home / "ledger"))) - 1
    with pytest.raises(Refused):
        running.client("sink").data_key("person-z/2026-11-24/2")


def test_while_reads_are_halted_nothing_is_released(running: Running) -> None:
    asked = request(running)
    (running.home / "keyring" / "halt").touch()
    with pytest.raises(Refused) as refused:
        running.client("ml").release(asked)
    assert refused.value.reason == "reads-halted"
    assert running.client("sink").data_key(KEY_ID), "capture and lake go on"


def test_a_signed_order_stops_looks_at_whom_it_is_about_and_each_is_on_record(running: Running) -> None:
    site, knowledge, asked = running.site, running.site.knowledge(), request(running)
    with pytest.raises(Forged):
        knowledge.learn("control.halt.v1", LakeSite(running.home / "other").order(Scope("global"), "reads")[1])
    site.hear(knowledge, Scope("subject", "person-b"), "reads", site.now_ms)
    assert running.client("ml").release(asked).files
    site.hear(knowledge, Scope("endpoint", "ep-a"), "reads", site.now_ms)
    record = site.value(Stream("review.l3.v1", "ep-a", b"s" * 16), 1, running.client("redactor").data_key(LEVEL_3), seed=1,
                        level=Level.PEOPLE)  # fmt: skip
    for look in (lambda: running.client("ml").release(asked),
                 lambda: running.client("review").open_record("rita", "review", record, site.manifest)):  # fmt: skip
        with pytest.raises(Refused) as refused:
            look()
        assert refused.value.reason == "reads-halted"
    assert [(e["principal"], e["reason"]) for e in running.entries("read-refused")] == [
        ("ml", "reads-halted"), ("review", "reads-halted"),
    ]  # fmt: skip
    assert (len(running.entries("read")), running.entries("open")) == (1, []), "only the look before the order"
    assert running.client("sink").ask("data-key", {"key_id": KEY_ID})["key"], "capture and lake go on"
    assert running.client("redactor").data_key("person-a/2026-11-25/2")


def test_while_the_orders_are_not_known_nobody_reads_and_the_lake_goes_on(running: Running) -> None:
    asked = request(running)
    running.site.standing = replace(running.site.standing, known=False)
    with pytest.raises(Refused) as refused:
        running.client("ml").release(asked)
    assert refused.value.reason == "control-unknown"
    assert [entry["reason"] for entry in running.entries("read-refused")] == ["control-unknown"]
    assert running.entries("read") == []
    assert running.client("redactor").data_key("person-a/2026-11-25/2")
    assert request(running).tickets


def test_one_record_of_level_three_goes_to_a_reviewer_and_to_nobody_else(running: Running) -> None:
    of = Stream("review.l3.v1", "ep-a", b"s" * 16)
    key = running.client("redactor").data_key(LEVEL_3)
    value = running.site.value(of, 1, key, seed=1, level=Level.PEOPLE)
    body = running.client("review").open_record("rita", "review", value, running.site.manifest)
    assert PLANTED.encode() in body
    assert [entry["covers"] for entry in running.entries("open")] == [[LEVEL_3]]
    for principal, purpose, record in (
        ("ml", "review", value),
        ("review", PURPOSE, value),
        ("review", "review", value[:-1] + b"x"),
    ):
        with pytest.raises((Refused, Forged)):
            running.client(principal).open_record("rita", purpose, record, running.site.manifest)
    assert len(running.entries("open")) == 1
    assert files_with(running.home / "ledger", PLANTED.encode()) == []


def test_without_a_certificate_of_this_site_nobody_is_heard(running: Running, tmp_path_factory: pytest.TempPathFactory) -> None:
    foreign = ensure_pki(tmp_path_factory.mktemp("foreign"), [])
    host, _, port = running.at.keyring.partition(":")
    ours = str(running.at.certificate("sink")[0])
    for certificate in (None, (str(foreign / "sink.crt.pem"), str(foreign / "sink.key.pem"))):
        tls = ssl.create_default_context(cafile=ours)
        if certificate:
            tls.load_cert_chain(*certificate)
        connection = http.client.HTTPSConnection(host, int(port), timeout=5, context=tls)
        with pytest.raises((OSError, http.client.HTTPException)):
            connection.request("POST", "/v1/data-key", b"{}")
            connection.getresponse()
        connection.close()
    stranger = KeyringClient(running.at.keyring, (foreign / "ca.crt.pem", foreign / "sink.crt.pem", foreign / "sink.key.pem"))
    with pytest.raises(Refused) as refused:
        stranger.data_key(KEY_ID)
    assert refused.value.reason == "tls"


def test_an_older_tls_is_refused(running: Running) -> None:
    host, _, port = running.at.keyring.partition(":")
    ca, certificate, key = running.at.certificate("sink")
    tls = ssl.create_default_context(cafile=str(ca))
    tls.load_cert_chain(certificate, key)
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection((host, int(port)), timeout=5) as plain, pytest.raises(ssl.SSLError):
        tls.wrap_socket(plain, server_hostname=host)


def test_odd_questions_are_refused_in_one_sentence_and_the_server_goes_on(running: Running) -> None:
    sink = running.client("sink")
    odd: list[tuple[str, Any]] = [
        ("data-key", {}), ("data-key", {"key_id": 5}), ("data-key", {"key_id": KEY_ID, "principal": "redactor"}),
        ("nothing", {}), ("data-key", []), ("file-key", {"level": [], "table": "", "file": "", "manifests": 1, "key_ids": 1}),
        ("release", {"person": "x"}), ("open", {"person": 1, "purpose": 2, "record": "=", "manifest": ""}),
        ("destroy", {"subject": None, "day": 1}),
    ]  # fmt: skip
    for path, question in odd:
        with pytest.raises(Refused):
            sink.ask(path, question)
    running.client("redactor").data_key(KEY_ID)
    assert sink.data_key(KEY_ID)


def test_an_oversized_question_is_refused_unread(running: Running) -> None:
    host, _, port = running.at.keyring.partition(":")
    ca, certificate, key = running.at.certificate("sink")
    tls = ssl.create_default_context(cafile=str(ca))
    tls.load_cert_chain(certificate, key)
    connection = http.client.HTTPSConnection(host, int(port), timeout=5, context=tls)
    connection.putrequest("POST", "/v1/data-key")
    connection.putheader("Content-Length", str(1 << 40))
    connection.endheaders()
    reply = connection.getresponse()
    assert (reply.status, json.loads(reply.read())["reason"]) == (403, "oversized")
    connection.close()


def test_a_client_survives_a_restarted_keyring_and_says_so_when_there_is_none(running: Running) -> None:
    sink = running.client("sink")
    running.client("redactor").data_key(KEY_ID)
    assert sink.ask("data-key", {"key_id": KEY_ID})["key"]
    sink._connection.sock.close()  # type: ignore[union-attr]  # as if the other side had gone meanwhile
    assert sink.ask("data-key", {"key_id": KEY_ID})["key"]
    nobody = KeyringClient("127.0.0.1:9", running.at.certificate("sink"))
    with pytest.raises(Transient):
        nobody.data_key(KEY_ID)


def test_a_keyring_without_root_or_with_a_lost_secret_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="root"):
        pinned_root(tmp_path, "byleave.")
    site = LakeSite(tmp_path)
    site.keyring().close()
    (tmp_path / "keyring" / "dev.secret").unlink()
    with pytest.raises(Misconfigured, match="cannot be read"):
        open_keyring(tmp_path, "byleave.")


def test_no_repr_holds_a_key(running: Running) -> None:
    asked = request(running)
    released = running.client("ml").release(asked)
    shown = repr(released) + repr(asked)
    assert all(
        key.hex() not in shown and repr(key)[2:-1] not in shown for key in (*released.files.values(), *released.data.values())
    )
    assert asked.tickets[0] not in shown
