"""Text of a language that is not shipped does not pass: what comes out of it is next to nothing."""

from __future__ import annotations

import re

import pytest

from byleave.processors.redact import find_spans, sanitized_text
from byleave.processors.rules import Rules
from byleave.processors.vocabulary import GRAMMAR

FOREIGN = """Wir haben gestern den Termin mit der Bank verschoben, weil meine Tochter krank war
das ist gut, ich will am Freitag mit dem Hund in den Park gehen
bitte schick mir die Unterlagen bis morgen, sonst wird der Chef sauer
je ne sais pas si le client est content de la solution, il faut demander
merci de m'envoyer le dossier avant la fin de la semaine
el equipo va a revisar el plan de la empresa en marzo y despues hablamos
mi hijo esta enfermo y no puedo ir a la oficina hasta el lunes
nie wiem czy ten plan jest dobry, spotkajmy sie w piatek po pracy
prosze wyslij mi dokumenty przed spotkaniem, dziekuje bardzo
我们明天开会讨论这个问题 请把报告发给我
main kal office nahi aa raha hoon, meri tabiyat kharab hai
mujhe kal tak report bhej do, boss bahut gussa hai
o relatorio ainda nao esta pronto, vou mandar amanha de manha
il capo ha detto che dobbiamo finire prima di venerdi sera""".splitlines()

ENGLISH = """the kubelet evicts pods whose tmpfs fills up, see the runbook
deploy the rc to canary, soak overnight, then flip the vip
grep the syslog for oom kills before you blame the jvm heap
lgtm modulo the nit about the getter, ship it""".splitlines()


@pytest.mark.parametrize("text", FOREIGN)
def test_of_another_language_only_a_few_short_words_come_out(rules: Rules, text: str) -> None:
    left = re.sub(r"<[A-Z_]+(?::\d+)?>", " ", sanitized_text(text, find_spans("", text, rules)))
    words = re.findall(r"[^\W\d_]+", left)
    assert len(words) <= 2
    assert all(len(word) <= 2 or word in GRAMMAR for word in words)


@pytest.mark.parametrize("text", ENGLISH)
def test_jargon_is_not_taken_for_another_language(rules: Rules, text: str) -> None:
    left = sanitized_text(text, find_spans("", text, rules))
    assert left.count("<") <= 2
    assert len(left) >= 0.75 * len(text)


def test_one_foreign_line_does_not_take_the_english_ones_beside_it(rules: Rules) -> None:
    text = "please read the note below\nbitte schick mir die Unterlagen bis morgen\nand answer before noon"
    first, _, last = sanitized_text(text, find_spans("", text, rules)).splitlines()
    assert (first, last) == ("please read the note below", "and answer before noon")
