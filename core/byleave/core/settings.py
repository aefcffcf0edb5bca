"""Edge: where this installation is and how to reach it. Read once in `main`, validated here, passed down.

Secrets are paths to files, never values in the environment. Unknown `BYLEAVE_*` variables are errors: a typo in the name of a
setting must not leave the setting unset.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from byleave.core.errors import Misconfigured
from byleave.core.topics import SITE_DEFAULT

VARIABLES = {
    "BYLEAVE_HOME": "state folder of this installation",
    "BYLEAVE_BOOTSTRAP": "host:port of the Kafka cluster, instead of the embedded broker",
    "BYLEAVE_SITE": "prefix of every topic, group and transactional id, default 'byleave.'",
    "BYLEAVE_PKI": "folder with ca.crt.pem and one certificate and key per principal",
    "BYLEAVE_KEYRING": "host:port of the keyring",
    "BYLEAVE_PORT": "first of the two ports of the embedded broker, default 19093",
    "BYLEAVE_CACHE": "where set-up keeps Kafka's jars",
    "BYLEAVE_METRICS_PORT": "port of /metrics, /livez and /readyz of this process; 0 for any free one",
}
BOOTSTRAP_DEFAULT = "127.0.0.1:19093"
KEYRING_DEFAULT = "127.0.0.1:19095"
_SITE = re.compile(r"[a-z0-9][a-z0-9-]{0,30}\.")
_ADDRESS = re.compile(r"[A-Za-z0-9.\-\[\]:]+:\d{1,5}(,[A-Za-z0-9.\-\[\]:]+:\d{1,5})*")


@dataclass(frozen=True, slots=True)
class Installation:
    """One site's folders and addresses."""

    home: Path
    site: str
    bootstrap: str
    pki: Path
    keyring: str
    metrics_port: int

    def topic(self, name: str) -> str:
        """The full name of a catalogue topic."""
        return self.site + name

    def certificate(self, principal: str) -> tuple[Path, Path, Path]:
        """CA, certificate and key of a principal. Raises Misconfigured if one is missing or not readable."""
        paths = (self.pki / "ca.crt.pem", self.pki / f"{principal}.crt.pem", self.pki / f"{principal}.key.pem")
        for path in paths:
            if not os.access(path, os.R_OK):
                raise Misconfigured(
                    f"{path} cannot be read: run 'byleave up' or point BYLEAVE_PKI at the certificates of {principal}"
                )
        return paths

    def kafka(self, principal: str) -> dict[str, str | int | bool]:
        """Connection options of librdkafka for one principal; mTLS, no other way in (P3, P4)."""
        ca, certificate, key = self.certificate(principal)
        return {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": "ssl",
            "ssl.ca.location": str(ca),
            "ssl.certificate.location": str(certificate),
            "ssl.key.location": str(key),
            "ssl.endpoint.identification.algorithm": "https",
            "client.id": principal,
            "log_level": 0,  # TLS failures repeat every 50 ms; errors reach us as events
        }


def load_installation(environment: Mapping[str, str] | None = None) -> Installation:
    """The installation that the environment names.

    Raises Misconfigured: unknown `BYLEAVE_*` variable, or a value that cannot be what it should be.
    """
    env = os.environ if environment is None else environment
    unknown = sorted(name for name in env if name.startswith("BYLEAVE_") and name not in VARIABLES)
    if unknown:
        raise Misconfigured(f"unknown setting {unknown[0]}: known are {', '.join(VARIABLES)}")
    home = Path(env.get("BYLEAVE_HOME") or _state_folder(env)).absolute()
    site = env.get("BYLEAVE_SITE", SITE_DEFAULT)
    if not _SITE.fullmatch(site):
        raise Misconfigured(f"BYLEAVE_SITE is {site!r}: it must be lower-case letters, digits and '-', and end in a dot")
    return Installation(
        home=home,
        site=site,
        bootstrap=_address(env, "BYLEAVE_BOOTSTRAP", _recorded(home / "broker" / "bootstrap.txt", BOOTSTRAP_DEFAULT)),
        pki=Path(env.get("BYLEAVE_PKI") or home / "pki").absolute(),
        keyring=_address(env, "BYLEAVE_KEYRING", _recorded(home / "keyring" / "address.txt", KEYRING_DEFAULT)),
        metrics_port=_port(env, "BYLEAVE_METRICS_PORT", 0),
    )


def _state_folder(env: Mapping[str, str]) -> Path:
    base = env.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "byleave"


def _recorded(path: Path, default: str) -> str:
    """What this installation wrote down about itself, so that commands find a broker or a keyring on another port."""
    return path.read_text(encoding="ascii").strip() if path.is_file() else default


def _address(env: Mapping[str, str], name: str, default: str) -> str:
    value = env.get(name) or default
    if not _ADDRESS.fullmatch(value) or not all(0 < int(one.rpartition(":")[2]) <= 65535 for one in value.split(",")):
        raise Misconfigured(f"{name} is {value!r}: it must be host:port")
    return value


def _port(env: Mapping[str, str], name: str, default: int) -> int:
    value = env.get(name) or str(default)
    if not value.isdecimal() or int(value) > 65535:
        raise Misconfigured(f"{name} is {value!r}: it must be a port number, 0 to 65535")
    return int(value)
