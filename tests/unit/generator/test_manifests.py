"""What is generated for machines that are not here: valid by schema, and no more generous than the catalogue."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from prometheus_client import generate_latest

from byleave.core import metrics, settings
from byleave.core.topics import grants, load_catalogue
from byleave.deploy.provision import configs_of
from generator import manifests, outputs
from generator.roles import load_roles

ROOT = Path(__file__).resolve().parents[3]
CATALOGUE, TABLE = load_catalogue(), load_roles()
OUTPUTS = outputs.outputs(CATALOGUE, TABLE)
UNITS = sorted(path for path in OUTPUTS if path.endswith(".service"))


def documents(path: str) -> list[dict]:
    return list(yaml.safe_load_all(OUTPUTS[path]))


@pytest.mark.parametrize("path", sorted(OUTPUTS))
def test_the_file_in_the_project_is_the_generated_one(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == OUTPUTS[path]


def test_an_edited_or_missing_file_is_noticed_and_written_anew(tmp_path: Path) -> None:
    outputs.write(tmp_path, OUTPUTS)
    assert outputs.stale(tmp_path, OUTPUTS) == {}
    (tmp_path / "docs/topics.md").write_text("edited")
    (tmp_path / "deploy/strimzi/users.yaml").unlink()
    assert set(outputs.stale(tmp_path, OUTPUTS)) == {"docs/topics.md", "deploy/strimzi/users.yaml"}


@pytest.mark.parametrize("path", sorted(["deploy/strimzi/kafka.yaml", *(p for p in OUTPUTS if p.endswith((".yaml", ".yml")))]))
def test_every_document_fits_its_schema(path: str) -> None:
    schema = json.loads((ROOT / "tests/assets/schemas" / f"{Path(path).parent.name}.json").read_text())
    for document in yaml.safe_load_all((ROOT / path).read_text(encoding="utf-8")):
        jsonschema.validate(document, schema, jsonschema.Draft202012Validator)


def test_the_written_yaml_is_read_back_as_it_was_meant() -> None:
    odd = {
        "a": ["x: y", "- z", "#", "", "on", "1", "1.0", "{b}", '"', "a\nb", {"k": [], "m": {}}],
        "n": 0,
        "t": True,
        "on": "é",
    }
    assert yaml.safe_load("\n".join(manifests._yaml(odd, 0))) == odd


def test_strimzi_users_hold_exactly_the_generated_grants() -> None:
    found = set()
    for user in documents("deploy/strimzi/users.yaml"):
        for rule in user["spec"].get("authorization", {}).get("acls", []):
            resource = rule["resource"]
            kind = {"transactionalId": "transactional_id"}.get(resource["type"], resource["type"])
            for operation in rule["operations"]:
                name = re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
                prefixed = resource.get("patternType") == "prefix"
                found.add((user["metadata"]["name"], kind, resource.get("name", "kafka-cluster"), prefixed, name))
    wanted = grants(CATALOGUE, "byleave.", [manifests.ENDPOINT_EXAMPLE])
    assert found == {(g.principal, g.resource_type, g.resource, g.prefixed, g.operation) for g in wanted}


def test_strimzi_topics_are_those_that_apply_would_make() -> None:
    found = {d["metadata"]["name"]: d["spec"] for d in documents("deploy/strimzi/topics.yaml")}
    assert {name: (s["partitions"], s["config"]) for name, s in found.items()} == {
        f"byleave.{t.name}": (t.partitions, configs_of(t)) for t in CATALOGUE.topics
    }


def test_no_container_sees_the_key_of_another_role() -> None:
    services = documents("deploy/compose/compose.yaml")[0]["services"]
    assert services.keys() == {role.name for role in TABLE.roles if role.where == "server"}
    for role in TABLE.roles:
        mounted = [v.rsplit(":", 2)[1] for v in services.get(role.name, {}).get("volumes", []) if v.endswith(":ro")]
        own = [f"{name}.key.pem" for name in (role.principal, *role.besides)]
        assert [Path(m).name for m in mounted if m.endswith(".key.pem")] in (own, [])
    assert {role.name: role.besides for role in TABLE.roles if role.besides} == {"drill": ("canary",)}


def test_containers_are_given_only_settings_that_exist() -> None:
    for service in documents("deploy/compose/compose.yaml")[0]["services"].values():
        assert service["environment"].keys() <= settings.VARIABLES.keys()


def test_alerts_and_scrapes_name_only_metrics_and_roles_that_exist() -> None:
    exported = set(re.findall(r"^# TYPE (\S+)", generate_latest(metrics.REGISTRY).decode(), re.M))
    rules = documents("deploy/prometheus/alerts.yml")[0]["groups"][0]["rules"]
    for rule in rules:
        named = {name.removesuffix("_bucket") for name in re.findall(r"byleave_\w+", rule["expr"])}
        assert named <= exported, rule["alert"]
    assert any("byleave_" in rule["expr"] for rule in rules)
    jobs = documents("deploy/prometheus/prometheus.yml")[0]["scrape_configs"]
    targets = [job["static_configs"][0]["targets"][0] for job in jobs]
    assert targets == [f"127.0.0.1:{role.metrics_port}" for role in TABLE.roles if role.where == "server"], (
        "a person's is theirs"
    )
    assert len(set(targets)) == len(targets)


@pytest.mark.parametrize("path", UNITS)
def test_a_unit_is_accepted_by_systemd_itself(path: str, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not on this machine; the next test reads the units all the same")
    unit = tmp_path / Path(path).name
    unit.write_text(OUTPUTS[path].replace("/opt/byleave/bin/byleave", shutil.which("true")))
    others = [tmp_path / Path(other).name for other in UNITS if other != path]
    for other in others:
        other.write_text(f"[Service]\nExecStart={shutil.which('true')}\n")
    scope = "--user" if "WantedBy=default.target" in OUTPUTS[path] else "--system"
    done = subprocess.run(
        [analyze, "verify", scope, "--man=no", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    ours = [line for line in done.stderr.splitlines() if unit.name in line]
    assert ours == [], done.stderr


EXPOSURE_MAX = {"person": 25, "server": 20}
"""Tenths, as `systemd-analyze security` counts: it knows no ProtectProc for a person's service, and the screen needs files."""


@pytest.mark.parametrize("path", UNITS)
def test_a_unit_is_not_more_exposed_than_it_must_be(path: str, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not on this machine; the tests beside this one read the units all the same")
    unit = tmp_path / Path(path).name
    unit.write_text(OUTPUTS[path])
    most = EXPOSURE_MAX["person" if "WantedBy=default.target" in OUTPUTS[path] else "server"]
    words = [analyze, "security", "--no-pager", "--offline=yes", f"--threshold={most}", str(unit)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-200:] + done.stderr


def test_the_agent_runs_where_no_memory_may_be_both_written_and_executed() -> None:
    """As its unit says, by the kernel's own switch (prctl 65, Linux 6.3), with the libraries that bring machine code."""
    code = """if True:
        import ctypes, mmap, sys
        if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) != 0:
            sys.exit(77)
        try:
            mmap.mmap(-1, 4096, prot=7)
        except OSError:
            pass
        else:
            sys.exit("the switch does nothing")
        import Xlib.display, confluent_kafka, fastavro
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from byleave.producers.main import main
        Ed25519PrivateKey.generate().sign(b"x")
        confluent_kafka.Producer({"bootstrap.servers": "127.0.0.1:1", "error_cb": print, "log_level": 0}).poll(0.1)
        ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(abs)(-1)
        main(["--help"])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 77:
        pytest.skip("this kernel has no such switch")
    assert done.returncode == 0, done.stderr


def test_the_agents_unit_gives_what_the_agent_cannot_start_without(capsys: pytest.CaptureFixture[str]) -> None:
    from byleave.producers.main import main

    with pytest.raises(SystemExit):
        main([])
    required = set(re.findall(r"--[a-z]+", capsys.readouterr().err.split("required:")[1]))
    assert required
    assert required <= set(next(role for role in TABLE.roles if role.name == "agent").command.split())


@pytest.mark.parametrize("path", UNITS)
def test_a_unit_runs_its_role_without_privileges_swap_or_core_dumps(path: str) -> None:
    lines = OUTPUTS[path].splitlines()
    role = next(r for r in TABLE.roles if path.endswith(f"-{r.name}.service"))
    assert f"ExecStart=/opt/byleave/bin/{role.command}" in lines
    assert {"NoNewPrivileges=yes", "MemorySwapMax=0", "LimitCORE=0", f"MemoryMax={role.memory_mib}M"} <= set(lines)
    keys = [line for line in lines if line.startswith("LoadCredential=") and ".key.pem" in line]
    if role.where == "server":
        names = (role.principal, *role.besides)
        assert keys == [f"LoadCredential={name}.key.pem:/etc/byleave/pki/{name}.key.pem" for name in names]
        assert {"DynamicUser=yes", "ProtectSystem=strict", "CapabilityBoundingSet="} <= set(lines)


def test_the_access_matrix_of_the_docs_is_the_catalogue() -> None:
    page = OUTPUTS["docs/topics.md"]
    names = [p.name for p in CATALOGUE.principals]
    for topic in CATALOGUE.topics:
        row = next(line for line in page.split("## Access")[1].splitlines() if line.startswith(f"| `{topic.name}` |"))
        cells = dict(zip(names, (cell.strip() for cell in row.split("|")[2:-1]), strict=True))
        assert {n for n, c in cells.items() if "W" in c} == set(topic.writers)
        assert {n for n, c in cells.items() if "R" in c} == set(topic.readers)
