"""Text of everyday work that looks like personal data must pass whole; personal data in disguise must not pass at all."""

from __future__ import annotations

import pytest

from byleave.processors.redact import find_spans, sanitized_text
from byleave.processors.rules import Rules

LOOK_ALIKES = """bump requests from 2.31.0 to 2.32.3
python 3.11.14 and node v20.11.1 are pinned
v1.2.3-rc.1 was tagged from release/1.2
rolled back to 4.18.0-beta.2 yesterday
port 5432 is taken, use 15432:5432
localhost:3000 redirects to localhost:3001
2026-11-24T10:31:07Z INFO request done in 35ms
2026-11-24 10:31:07,123 WARN retry 3 of 5
[24/Nov/2026:10:31:07 +0000] "GET /health HTTP/1.1" 200 2
standup at 9:45am
meet on 12/04 at 14:00, room 3.12
Q3 2026 goes from 1 July to 30 September
PR #4312 fixes issue #987
see ticket OPS-1234 and JIRA-88
line 1040, column 17, of parser.py
order 10423 shipped, order no 88213 is late
exit code 137 means the kernel killed it
HTTP status code is 404, error code 500
the process with pid 4242 holds 512MB
p99 went from 250ms to 1.2s, p50 is 12ms
97k rps on 16 cores, 2.5M rows in 30s
10.5 GB of 64 GB used, 16.4 % free
git show 3f2a9bc1e
git commit -m 'fix the flaky test'
git rebase -i HEAD~3 && git push --force-with-lease
commit 9f8e7d6c5b4a39281706f5e4d3c2b1a098765432
revert commit 1a2b3c4 on main
sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
docker run --rm -p 8080:80 nginx:1.27
docker ps -a --format json
kubectl get pods -n staging -o wide
kubectl scale deploy/web --replicas=3
helm upgrade --install web ./chart -f values.yaml
terraform plan -out=plan.bin
ssh -p 2222 -L 8080:localhost:80 host
curl -sS -o /dev/null -w '%{http_code}' http://localhost:8080/health
npm run build -- --mode production
ls -la /var/log | head -20
chmod 755 run.sh && ./run.sh
tar -xzf backup.tar.gz -C /tmp
SELECT count(*) FROM events WHERE level >= 2 LIMIT 100
password = os.environ["DB_PASSWORD"]
token = next(stream)
const token = await getToken(user)
if not user.password: raise ValueError("password")
api_key: str | None = None
password: ${DB_PASSWORD}
export TOKEN=$(cat token.txt)
curl -H "Authorization: Bearer $TOKEN" http://localhost
secret: <your-secret>
PASSWORD=<password>
the password field must not be empty
password reset emails are slow
we should rotate the password policy page
the password must have 12 characters
please change your password
forgot password screen is broken
token limit is 4096, we use 3500 tokens
the key is in the vault, the value is cached
primary key is user_id
the secret to good tests is small fixtures
pass the flag to the parser and bypass the cache
pin the version to 1.24
login failed, the login page is down
the login flow is slow
the color is #ff8800, the border is #333
rgb(255, 128, 0) and 16px margins
1920x1080 at 60 fps
ISO 8601 and RFC 7519 and IEEE 754
UTF-8, Base64 and AES-128
3 of 5 nodes are ready, 2 are pending
one two three, go
12 files on the way to the server
10 test cases on a hard drive
5 people in the room, 2 on the call
see you at 10 in the court room
a 30 minute drive, a 5 minute walk
chapter 12, page 304, figure 7
test case 1042 passes, use case 17 fails
case 404: return null
the base is 16, gross simplification
pay attention to the 3 warnings
the balance of 2 and 3 is off
offer 2 ways to log in
net 30 terms and net 60 terms
the raise on line 40 is wrong
std::vector<int> v; Face::Add(2)
fe80 is a prefix, cafe and beef are words
1, 2, 3, 4, 5, 6, 7, 8, 9, 10
0 1 1 0
65536 ports
x = [1, 2, 3]; y = x[0] + 10
for i in range(10): print(i)
the case for a monorepo
call me back after lunch
type 2 to continue
heart icon next to the title
the chart shows 2024 and 2025
member of the team since 2021
the policy is fine
expires in 30 days
card layout with 3 columns
social login and sign in with SSO
logged in as usual
ssh as root is off""".splitlines()

DISGUISES = [
    "my card is 4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
    "card 4111.1111.1111.1111",
    "card 4111_1111_1111_1111",
    "card 4111/1111/1111/1111",
    "card no 4111 1111 1111 111",
    "card number 4111 1111 1111 1112",
    "4111\u00a01111\u00a01111\u00a01111",
    "4111\u200b1111\u200b1111\u200b1111",
    "\uff14\uff11\uff11\uff11 \uff11\uff11\uff11\uff11 \uff11\uff11\uff11\uff11 \uff11\uff11\uff11\uff11",
    "\u0664\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661",
    "ssn 219 - 09 - 9999",
    "ssn: 219.09.9999",
    "ssn 219/09/9999",
    "social 219 09 999",
    "ssn two one nine oh nine nine nine nine nine",
    "two, one, nine, zero, nine, nine, nine, nine, nine",
    "2-1-9-0-9-9-9-9-9",
    "2|1|9|0|9|9|9|9|9",
    "2*1*9*0*9*9*9*9*9",
    "2l9-O9-9999",
    "iban D E 8 9 3 7 0 4 0 0 4 4 0 5 3 2 0 1 3 0 0 0",
    "DE89-3704-0044-0532-0130-00",
    "a n n at example dot com",
    "ann (at) example (dot) com",
    "ann [at] example.com",
    "ann.k at example dot co dot uk",
    "ann @ example . com",
    "ann\u200b@example.com",
    "\uff41\uff4e\uff4e\uff20example.com",
    "hun\u200bter",
    "k o w a l s k i",
    "K-o-w-a-l-s-k-i",
    "k.o.w.a.l.s.k.i",
    "\u202eiksla\u202c",
    "\u041aowalski",
    "K\u043ewalsk\u0456",
    "Kow\u00adalski",
    "Kowa\u0301lski",
    "\U0001d40a\U0001d428\U0001d430\U0001d41a\U0001d425\U0001d42c\U0001d424\U0001d422",
    "p4ssw0rd!",
    "pw: hunter2",
    "my pw's hunter2",
    "pass=Summer2026",
    "hunter2 is my password",
    "PASSWORD IS CORRECT HORSE BATTERY STAPLE",
    "P@ssw0rd: letmein99",
    "+1 (555) 010 2345",
    "5 5 5 - 0 1 0 - 2 3 4 5",
    "0044 20 7946 0958",
    "555.010.2345",
]
NOT_DATA = {
    "my",
    "card",
    "is",
    "no",
    "number",
    "pass=",
    "ssn",
    "social",
    "iban",
    "at",
    "dot",
    "com",
    "example",
    "pw",
    "pw's",
    "password",
    "PASSWORD",
    "IS",
    "P@ssw0rd",
    "co",
    "uk",
}
NOT_DATA |= {f"{word}:" for word in NOT_DATA}


@pytest.mark.parametrize("text", LOOK_ALIKES)
def test_a_look_alike_passes_whole(rules: Rules, text: str) -> None:
    assert sanitized_text(text, find_spans("", text, rules)) == text


@pytest.mark.parametrize("text", DISGUISES)
def test_nothing_of_a_disguised_value_passes(rules: Rules, text: str) -> None:
    taken = {place for span in find_spans("", text, rules) for place in range(span.start, span.end)}
    left = "".join(char if place not in taken else " " for place, char in enumerate(text))
    assert {word for word in left.split() if any(map(str.isalnum, word))} <= {
        f"{word}{end}" for word in NOT_DATA for end in ("", ":")
    }
