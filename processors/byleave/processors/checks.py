"""How much of what a pattern found is really of its kind: check digits, numbering plans, and secrets apart from talk of them.

Promises  each check takes the text of a match and returns how many of its characters count: all, fewer where what follows does
          not belong to it, or 0 for none. None raises on any text.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from importlib import import_module

import phonenumbers
from stdnum import iban as stdnum_iban
from stdnum import luhn as stdnum_luhn
from stdnum.us import ssn as stdnum_ssn

from byleave.core.errors import Misconfigured
from byleave.processors.lexicon import load_words

Check = Callable[[str], int]
_GAP = re.compile(r"[^\w]+")
_REFERENCE = re.compile(
    r"""(?xi) ["'`]? (?:
        [$%<{*] | &lt; | \.{3} | x{3,}\b | your?[-_ ] | my[-_] | !\w+[ ]           # ${VAR}, <token>, ***, your-token, !vault
      | (?:[a-z_]\w{0,40}(?:\.|->|::)){1,8}[a-z_]{1,40}\b(?!\S{0,200}\d)          # config.token
      | (?:(?:new|await|raise|return|throw)[ ])?[a-z_][\w.]{0,60}[(\[]            # next(lexer)
      | (?:os|self|this|env|process|settings?|config|conf|cfg|args|opts|options|request|req|secrets?|var|local|ctx|app)[.\[]
    )"""
)
"""A variable, a call, a placeholder: it says where a secret comes from, and is none."""
PHONE_DIGITS_MIN = 9
_PLAIN = re.compile(r"[a-z]+|[A-Z][a-z]+|[A-Z_]+")
"""A word as in prose, or the name of a constant."""


def find_check(name: str) -> Check:
    """The check of that name: one of this module, "phone:REGION ..." or "stdnum:MODULE". Raises Misconfigured."""
    kind, _, rest = name.partition(":")
    try:
        if kind == "stdnum":
            return _longest(import_module(f"stdnum.{rest}").is_valid)
        if kind == "phone" and set(rest.split()) <= phonenumbers.SUPPORTED_REGIONS:
            return _longest(_phone(rest.split()))
        return _CHECKS[name]
    except (ImportError, AttributeError, KeyError):
        raise Misconfigured(f"patterns.toml: there is no check {name!r}") from None


def _whole(valid: Callable[[str], bool]) -> Check:
    return lambda value: len(value) if valid(value) else 0


def _longest(valid: Callable[[str], bool]) -> Check:
    """What the pattern found, or that without its last groups: "4111 1111 1111 1111 12" is a card and something else."""

    def check(value: str) -> int:
        for end in [len(value), *sorted((gap.start() for gap in _GAP.finditer(value)), reverse=True)[:4]]:
            if valid(value[:end]):
                return end
        return 0

    return check


def luhn(text: str) -> bool:
    """The check digit of payment cards (ISO/IEC 7812-1)."""
    digits = re.sub(r"\D", "", text)
    return 12 <= len(digits) <= 19 and stdnum_luhn.is_valid(digits)


def iban(text: str) -> bool:
    """The check digits of an IBAN (ISO 13616), and the length of its country."""
    return bool(stdnum_iban.is_valid(_GAP.sub("", text), check_country=False))


def ip(text: str) -> bool:
    """A network address that could be somebody's: not the loopback, not a mask, not a name of code like "std::cend"."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mask = text.startswith(("0.", "255.")) or text.endswith(".0.0")
    return not (address.is_loopback or address.is_unspecified or mask) and any(char.isdigit() for char in text)


def ssn(text: str) -> bool:
    """Numbers that were never given out are none (SSA, "Invalid SSNs")."""
    return bool(stdnum_ssn.is_valid(re.sub(r"\D", "", text)))


def _phone(regions: Iterable[str]) -> Callable[[str], bool]:
    """Whether one of the regions' numbering plans has such a number, written with its leading zero."""
    plans = [phonenumbers.PhoneMetadata.metadata_for_region(region) for region in regions]
    kinds = [kind for plan in plans if plan for kind in (plan.fixed_line, plan.mobile, plan.voip, plan.toll_free)]
    known = re.compile(
        "|".join(f"(?:{kind.national_number_pattern})" for kind in kinds if kind and kind.national_number_pattern)
    )

    def valid(text: str) -> bool:
        digits = re.sub(r"\D", "", text)
        return len(digits) >= PHONE_DIGITS_MIN and any(map(known.fullmatch, (digits, digits[1:])))

    return valid


def amount(value: str) -> bool:
    """Whether a number beside a word of pay is an amount: three digits, or a unit; no year by itself."""
    unit = any(char in "kKmM%$£€" for char in value)
    return (unit or "per" in value or sum(char.isdigit() for char in value) >= 3) and not re.fullmatch(
        r" ?(?:19|20)\d\d[.,]?", value
    )


def street(value: str) -> bool:
    """Whether "12 Baker Street" is an address: with a glue word between, as in "12 pods on the road", it is talk."""
    glue = load_words("grammar") - {"the", "of"}
    return glue.isdisjoint(word.lower() for word in value.split()[1:4])


def secret(value: str) -> int:
    """How much of what follows a password cue is one: none of a remark about passwords or of code, all of a pass-phrase."""
    start = len(value) - len(value.lstrip())
    if value[start : start + 1] in "\"'`“" and (quoted := re.match(r"(.)([^\"'`”\n]{2,})[\"'`”]", value[start:])):
        return 0 if _REFERENCE.match(quoted.group(2)) else start + quoted.end() - 1
    words = list(re.finditer(r"\S+", value))
    first = words[0].group().strip("\"'.,:;!?)(").lower() if words else ""
    if not first or _REFERENCE.match(value[start:]):
        return 0
    glue, remarks = load_words("grammar"), load_words("remarks")
    strong = not _PLAIN.fullmatch(words[0].group().strip("\"'.,:;!?)("))
    if not strong:
        # "is correct" is a remark, "is correct horse battery" is a pass-phrase: a remark goes on with the glue of English.
        phrase = len(words) > 2 and (remarks | glue).isdisjoint(word.group() for word in words[1:])
        end = re.search(r"[,(]|\. |\\n|$", value)
        return (end.start() if end else len(value)) if first not in remarks or phrase else 0
    last = words[0]
    for word in words[1:]:
        if last.group()[-1] in ",.)" or word.group().lower().strip(".,") in glue | remarks or "=" in word.group():
            break
        last = word
    return last.end()


def assigned(value: str) -> int:
    """How much of what is assigned to a name for a secret is one: a literal, not a variable, a type or a placeholder."""
    quoted = value[:1] in "\"'`"
    plain = value[1:] if quoted else value.rstrip(".)]}")
    word = plain.strip("\"'").lower()
    if _REFERENCE.match(plain) or word in load_words("remarks"):
        return 0
    typed = (
        not quoted
        and (_PLAIN.fullmatch(plain) or re.fullmatch(r"[A-Za-z]+(?:[A-Z_][a-z]+)*", plain))
        and not plain[:1].isdigit()
    )
    return 0 if typed else len(value)


def prompted(value: str) -> int:
    """How much of the lines after a command that asks for a password may be one: the first, and one more if that
    is a prompt or the same again."""
    lines = value.split("\n")
    words = lines[0].split()
    if not words or words[0].lower().strip(".,?!:") in load_words("commands") | load_words("remarks"):
        return 0
    twice = lines[1:] == lines[:1] or lines[0].rstrip().endswith((":", "?"))
    return len(value) if twice else len(lines[0])


def told(value: str) -> bool:
    """Whether what follows a word for a user is a name, and not what is said about one."""
    return value.lower().strip("._-") not in load_words("grammar") | load_words("remarks")


def credentials(value: str) -> bool:
    """Whether a user and password, or the value of a -u or -p option, is more than plain words, ports or placeholders."""
    return not re.fullmatch(
        r"[a-z]+|[\d:/.tcpud]+|[^\w]*(?:user(?:name)?|login|id)?:(?:pass(?:word)?|token|secret|pw)?\W*|.*[$<{].*", value
    )


_CHECKS: dict[str, Check] = {
    "any": len,
    "card": _longest(luhn),
    "iban": _longest(iban),
    "secret": secret,
    "assigned": assigned,
    "prompted": prompted,
    **{check.__name__: _whole(check) for check in (ip, ssn, amount, street, credentials, told)},
}
