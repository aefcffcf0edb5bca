"""Edge: key files. One key a file, 32 bytes in hex, readable by its owner alone (P3).

No message names more of a key file than its path and what is wrong with it: never its content (P4).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from byleave.core.errors import Forged, Misconfigured

KEY_BYTES = 32
_FILE_BYTES_MAX = 4096


def write_secret(path: Path, secret: bytes) -> None:
    """Writes `secret` in hex. Raises as `create_private`."""
    create_private(path, secret.hex().encode() + b"\n")


def create_private(path: Path, content: bytes) -> None:
    """Writes a file of mode 0600, on disk before it returns.

    Raises Misconfigured if the file is there already: a key that is replaced by accident takes its data with it.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Misconfigured(f"{path} exists: a key file is never overwritten; move it away first") from None
    _fill(descriptor, content)


def replace_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replaces a file as a whole or not at all, and is on disk when it returns: a crash leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    _fill(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), content)
    draft.replace(path)
    if os.name == "posix":  # the rename itself must survive a power cut
        folder = os.open(path.parent, os.O_RDONLY)
        with contextlib.suppress(OSError):
            os.fsync(folder)
        os.close(folder)


def _fill(descriptor: int, content: bytes) -> None:
    """On disk when it returns."""
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def read_secret(path: Path) -> bytes:
    """The 32 bytes of a key file. Raises Misconfigured as `read_private`, and if they are not 32 bytes in hex."""
    try:
        secret = bytes.fromhex(read_private(path).decode("ascii").strip())
    except ValueError:  # its text would quote the content
        secret = b""
    if len(secret) != KEY_BYTES:
        raise Misconfigured(f"key file {path} does not hold {KEY_BYTES} bytes in hex: restore it from its backup")
    return secret


def read_private(path: Path) -> bytes:
    """The first 4 KiB of a key file. Raises Misconfigured: missing, or readable by others (POSIX)."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_FILE_BYTES_MAX)
    except OSError as error:
        raise Misconfigured(f"key file {path} cannot be read ({type(error).__name__}): create it or correct the path") from None
    if os.name == "posix" and mode & 0o077:
        raise Misconfigured(f"key file {path} is open to others (mode {mode & 0o777:o}): run chmod 600 on it")
    return text


def read_signing_key(path: Path) -> Ed25519PrivateKey:
    """An Ed25519 key from its seed (RFC 8032). Raises as `read_secret`."""
    return Ed25519PrivateKey.from_private_bytes(read_secret(path))


def read_hpke_key(path: Path) -> X25519PrivateKey:
    """An X25519 key (RFC 7748). Raises as `read_secret`."""
    return X25519PrivateKey.from_private_bytes(read_secret(path))


def public_hex(key: Ed25519PrivateKey | X25519PrivateKey | Ed25519PublicKey | X25519PublicKey) -> str:
    """The raw public key in hex: the form in which documents name it."""
    public = key.public_key() if isinstance(key, Ed25519PrivateKey | X25519PrivateKey) else key
    return public.public_bytes_raw().hex()


def verify_key(unverified_hex: str) -> Ed25519PublicKey:
    """A public key as a document names it. Raises Forged (`malformed`)."""
    return Ed25519PublicKey.from_public_bytes(_raw(unverified_hex))


def recipient(unverified_hex: str) -> X25519PublicKey:
    """A redactor's public key as a state names it. Raises Forged (`malformed`)."""
    return X25519PublicKey.from_public_bytes(_raw(unverified_hex))


def _raw(unverified_hex: str) -> bytes:
    try:
        raw = bytes.fromhex(unverified_hex)
    except ValueError:
        raw = b""
    if len(raw) != KEY_BYTES or raw.hex() != unverified_hex:  # one spelling: no spaces, lower case
        raise Forged(f"a public key must be {KEY_BYTES} bytes in lower-case hex", reason="malformed")
    return raw
