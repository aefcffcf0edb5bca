"""Edge: an officer's key file, sealed under a passphrase in OpenSSH's own form (P2).

`ssh-keygen` can read it, show its fingerprint and change its passphrase: a form that officers can look after without us.
Development keys are hex without a passphrase and are recognised too. No passphrase is ever kept, logged or put into a message.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, load_ssh_private_key

from byleave.core.errors import Misconfigured
from byleave.core.keys import KEY_BYTES, create_private, public_hex, read_private, read_signing_key

KDF_ROUNDS = 64
"""Of bcrypt: about half a second for each guess at a passphrase."""
PASSPHRASE_MIN = 12
Ask = Callable[[], str]
_SEALED = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_PUBLIC = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")


def officer_path(home: Path, name: str) -> Path:
    """Where an officer's key lies in this installation. Raises Misconfigured for what is no name."""
    if not _NAME.fullmatch(name):
        raise Misconfigured(f"{name!r} is no officer's name: letters, digits and '-'")
    return home / "officers" / f"{name}.key"


def seal_officer(path: Path, secret: bytes, passphrase: str) -> str:
    """Writes a new key file from 32 random bytes, and gives the public key in hex.

    Raises Misconfigured, having written nothing: the file exists, the passphrase is too short.
    """
    if len(passphrase) < PASSPHRASE_MIN:
        raise Misconfigured(f"a passphrase needs at least {PASSPHRASE_MIN} characters")
    key = Ed25519PrivateKey.from_private_bytes(secret)
    sealing = PrivateFormat.OpenSSH.encryption_builder().kdf_rounds(KDF_ROUNDS).build(passphrase.encode())
    create_private(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, sealing))
    return public_hex(key)


def is_sealed(path: Path) -> bool:
    """Whether a passphrase is needed. Raises Misconfigured as `read_private`."""
    return read_private(path).startswith(_SEALED)


def read_officer(path: Path, ask: Ask) -> Ed25519PrivateKey:
    """The key of an officer; `ask` is called for a passphrase if the file is sealed.

    Raises Misconfigured: not readable, open to others, another kind of key, sealed by nothing, or the passphrase does not fit.
    """
    text = read_private(path)
    if not text.startswith(_SEALED):
        return read_signing_key(path)
    try:
        key = load_ssh_private_key(text, ask().encode())
    except TypeError:
        raise Misconfigured(f"{path} has no passphrase: give it one with ssh-keygen -p -f {path}") from None
    except (ValueError, InvalidTag, UnsupportedAlgorithm):
        raise Misconfigured(f"the passphrase does not open {path}, or the file is damaged") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise Misconfigured(f"{path} is not an Ed25519 key: make one with 'byleave keys new'")
    if public_hex(key) != public_of(path):  # the form does not protect the seed: a flipped bit would be another key
        raise Misconfigured(f"{path} is damaged: restore it from its backup")
    return key


def public_of(path: Path) -> str:
    """The public key in hex, without any passphrase: to list keys by. Raises Misconfigured."""
    text = read_private(path)
    if not text.startswith(_SEALED):
        return public_hex(read_signing_key(path))
    try:
        blob = base64.b64decode(b"".join(text.split(b"-----")[2].split()), validate=True)
    except binascii.Error:
        blob = b""
    public = blob.partition(_PUBLIC)[2][:KEY_BYTES]
    if len(public) != KEY_BYTES:
        raise Misconfigured(f"{path} is not an Ed25519 key: make one with 'byleave keys new'")
    return public.hex()


def fingerprint(key_hex: str) -> str:
    """As `ssh-keygen -l` prints it: to be read out over the telephone."""
    found = hashlib.sha256(_PUBLIC + bytes.fromhex(key_hex)).digest()
    return "SHA256:" + base64.b64encode(found).decode().rstrip("=")


def keys_here(home: Path) -> dict[str, str]:
    """Public key of each officer's key file in this installation, and the officer's name. Raises as `public_of`."""
    return {public_of(path): path.stem for path in sorted((home / "officers").glob("*.key"))}
