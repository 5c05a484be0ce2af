"""Forges callbacks by chance, and counts what the check makes of them.

    python tests/forge.py --inputs 1000000 --seed 1

Signed callbacks are changed in their headers and bodies, or made up; one in fifty is left as it is. Whether one is
genuine is known without our own code: from the list of what was signed, with the standard library. The exit code is 0
when no other error than WebhookError came out, nothing forged was taken, and nothing genuine was refused.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable

import attrs
from posts import OTHER, SECRET, mac

from kling_async import WebhookError
from kling_async.rules.signatures import Verifier
from kling_async.spec import WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP

NOW = 1_781_080_794.5
WINDOW = 300
SECRETS = (SECRET, OTHER)
NOBODYS = "whsec_" + base64.b64encode(b"a secret that nobody has set, 32").decode()
NAMES = (WEBHOOK_ID, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNATURE)
SIGNATURE_LETTERS = len("v1,") + 44


@attrs.define
class Input:
    """What is given to the check. Anything may stand anywhere."""

    body: object
    headers: object

    def header(self, name: str) -> object:
        return self.headers.get(name, "") if isinstance(self.headers, dict) else ""

    def put(self, name: str, value: object) -> None:
        if isinstance(self.headers, dict):
            self.headers[name] = value


@attrs.define
class Figures:
    """What was seen."""

    inputs: int = 0
    genuine: int = 0
    taken: int = 0
    refused: int = 0
    false_accepts: int = 0
    false_refusals: int = 0
    other_errors: Counter[str] = attrs.field(factory=Counter)
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        """Whether the check held."""
        return not (self.false_accepts or self.false_refusals or self.other_errors)

    def __str__(self) -> str:
        others = ", ".join(f"{name} {count}" for name, count in sorted(self.other_errors.items())) or "0"
        return "\n".join(
            (
                f"{self.inputs} inputs, {self.seconds:.0f} s",
                f"left as they were signed: {self.genuine}",
                f"taken:                    {self.taken}",
                f"refused (WebhookError):   {self.refused}",
                f"false accepts:            {self.false_accepts}",
                f"false refusals:           {self.false_refusals}",
                f"other errors:             {others}",
            )
        )


class Forger:
    """Makes the inputs, and knows which of them are genuine."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - no secrets
        self._signed: set[tuple[str, str, bytes, str]] = set()
        self._genuine = [self._sign(number) for number in range(300)]
        self._changes: list[tuple[Callable[[Input], None], int]] = [
            (self._letter_of_the_signature, 6),
            (self._letter_of_a_header, 3),
            (self._letter_of_the_body, 3),
            (self._cut_or_doubled_body, 1),
            (self._other_signature, 3),
            (self._other_time, 3),
            (self._other_id, 2),
            (self._other_kind_of_value, 2),
            (self._without_a_header, 1),
            (self._names_in_another_case, 1),
            (self._parts_of_another, 3),
            (self._other_kind_of_headers, 1),
            (self._other_kind_of_body, 1),
            (self._anything_at_all, 1),
        ]

    def _sign(self, number: int) -> Input:
        chance = self._chance
        name, at = f"msg-{number}", str(int(NOW) + chance.randint(-WINDOW + 1, WINDOW))
        record = (
            {
                "task_id": str(number),
                "task_status": "succeed",
                "task_result": {"videos": [{"id": "v", "url": "https://x"}]},
            }
            if number % 2
            else {
                "id": str(number),
                "status": "succeeded",
                "message": "é 太",
                "outputs": [],
                "external_id": f"order-{number}",
            }
        )
        body = json.dumps(record, ensure_ascii=number % 3 == 0).encode()
        signatures = [mac(secret, name, at, body) for secret in SECRETS[: 1 + number % 2]]
        self._signed.update((name, at, body, signature) for signature in signatures)
        return Input(body, {WEBHOOK_ID: name, WEBHOOK_TIMESTAMP: at, WEBHOOK_SIGNATURE: " ".join(signatures)})

    def next(self) -> tuple[Input, bool]:
        """An input, and whether it was left as it was signed."""
        one = self._chance.choice(self._genuine)
        given = Input(one.body, dict(one.headers) if isinstance(one.headers, dict) else {})
        if self._chance.random() < 0.02:
            return given, True
        changes, weights = zip(*self._changes, strict=True)
        for change in self._chance.choices(changes, weights, k=self._chance.choice((1, 1, 1, 2, 3))):
            change(given)
        return given, False

    def is_genuine(self, given: Input) -> bool:
        """Whether this very body was signed under this id and time, and the time is not over."""
        if not isinstance(given.headers, dict) or not isinstance(given.body, bytes | bytearray):
            return False
        told: dict[str, object] = {str(name).lower(): value for name, value in given.headers.items()}
        delivery, at, signatures = (str(told.get(name, "")) for name in NAMES)
        if not (at.isascii() and at.isdecimal() and len(at) < 15 and abs(NOW - int(at)) <= WINDOW):
            return False
        return any((delivery, at, bytes(given.body), one) in self._signed for one in signatures.split(" "))

    # --- changes -------------------------------------------------------------------------------------------------

    def _letter(self) -> str:
        return self._chance.choice("AZaz09+/=-_,.:; \t\r\n\0v1w\"'{}é\u0661\ud800\U0001f600\xa0\x7f")

    def _changed(self, text: str) -> str:
        place = self._chance.randrange(len(text) + 1)
        match self._chance.randrange(4):
            case 0:
                return text[:place] + self._letter() + text[place + 1 :]
            case 1:
                return text[:place] + self._letter() + text[place:]
            case 2:
                return text[:place] + text[place + 1 :]
            case _:
                return text[:place] + text[place:].swapcase()

    def _letter_of_the_signature(self, given: Input) -> None:
        text = str(given.header(WEBHOOK_SIGNATURE))
        place = self._chance.randrange(max(1, min(len(text), SIGNATURE_LETTERS)))
        other = self._chance.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
        given.put(WEBHOOK_SIGNATURE, text[:place] + other + text[place + 1 : SIGNATURE_LETTERS])

    def _letter_of_a_header(self, given: Input) -> None:
        name = self._chance.choice(NAMES)
        given.put(name, self._changed(str(given.header(name))))

    def _letter_of_the_body(self, given: Input) -> None:
        if isinstance(given.body, bytes) and given.body:
            place = self._chance.randrange(len(given.body))
            other = bytes([given.body[place] ^ (1 << self._chance.randrange(8))])
            given.body = given.body[:place] + other + given.body[place + 1 :]

    def _cut_or_doubled_body(self, given: Input) -> None:
        if isinstance(given.body, bytes):
            extra = self._chance.choice((b" ", b"\n", b"\0", b"\xff", b"\xef\xbb\xbf", given.body, b""))
            cut = given.body[: self._chance.randrange(len(given.body) + 1)]
            given.body = self._chance.choice((given.body + extra, extra + given.body, cut))

    def _other_signature(self, given: Input) -> None:
        right = str(given.header(WEBHOOK_SIGNATURE))
        noise = base64.b64encode(self._chance.randbytes(self._chance.choice((0, 1, 16, 31, 32, 33)))).decode()
        others = (
            f"v1,{noise}",
            f"v1a,{right[3:]}",
            right[3:],
            f"{right},",
            f"{right},{right}",
            right * 30,
            "v1",
            " ",
            ",",
        )
        wrong = mac(NOBODYS, str(given.header(WEBHOOK_ID)).encode("ascii", "replace").decode(), 0, b"")
        given.put(WEBHOOK_SIGNATURE, self._chance.choice((*others, wrong, f"{wrong} {right}", f"v2,x {right} v1,")))

    def _other_time(self, given: Input) -> None:
        at = str(given.header(WEBHOOK_TIMESTAMP))
        near = str(int(NOW) + self._chance.choice((-3600, -301, -300, -1, 0, 1, 300, 301, 302, 3600)))
        odd = (
            f"{at}.0",
            f"+{at}",
            f"0{at}",
            f" {at}",
            f"{at} ",
            f"{at}\n",
            "nan",
            "inf",
            "-1",
            "1e9",
            f"{at}e0",
            "9" * 400,
        )
        given.put(WEBHOOK_TIMESTAMP, self._chance.choice((near, near, *odd, at[:1] + "_" + at[1:], f"{at}000", hex(7))))

    def _other_id(self, given: Input) -> None:
        one = str(given.header(WEBHOOK_ID))
        at = given.header(WEBHOOK_TIMESTAMP)
        given.put(
            WEBHOOK_ID, self._chance.choice((f"{one}.{at}", f"{one}.", one + " ", one.upper(), one * 200, "", "é"))
        )

    def _other_kind_of_value(self, given: Input) -> None:
        values: tuple[object, ...] = (None, 7, 7.5, True, b"bytes", [], ["v1,x"], {}, object(), float("nan"))
        given.put(self._chance.choice(NAMES), self._chance.choice(values))

    def _without_a_header(self, given: Input) -> None:
        if isinstance(given.headers, dict):
            given.headers.pop(self._chance.choice(NAMES), None)

    def _names_in_another_case(self, given: Input) -> None:
        if isinstance(given.headers, dict):
            change = self._chance.choice((str.upper, str.title, str.swapcase))
            given.headers = {change(str(name)): value for name, value in given.headers.items()}

    def _parts_of_another(self, given: Input) -> None:
        other = self._chance.choice(self._genuine)
        if self._chance.random() < 0.3:
            given.body = other.body
        else:
            name = self._chance.choice(NAMES)
            given.put(name, other.header(name))

    def _other_kind_of_headers(self, given: Input) -> None:
        pairs = list(given.headers.items()) if isinstance(given.headers, dict) else []
        given.headers = self._chance.choice(
            (None, [], pairs, "headers", 7, {7: "x"}, {None: None}, {}, dict(pairs * 2))
        )

    def _other_kind_of_body(self, given: Input) -> None:
        text = bytes(given.body).decode("utf-8", "replace") if isinstance(given.body, bytes) else ""
        given.body = self._chance.choice((None, text, 7, [], {}, object(), bytearray(text.encode()), b"[" * 5000))

    def _anything_at_all(self, given: Input) -> None:
        given.body = self._chance.randbytes(self._chance.randrange(200))
        for name in NAMES:
            given.put(name, "".join(self._letter() for _ in range(self._chance.randrange(60))))


def forge(inputs: int, seed: int, *, blind: int | None = None) -> Figures:
    """The figures of a run.

    Args:
        inputs: how many.
        seed: of all chance.
        blind: which letter of a signature the check does not look at (a control); `None`: it looks at all of them.
    """
    figures, forger = Figures(), Forger(seed)
    verifier = Verifier(SECRETS) if blind is None else Verifier(SECRETS, same=_blind(blind))
    began = time.monotonic()
    for _ in range(inputs):
        given, is_untouched = forger.next()
        figures.inputs += 1
        figures.genuine += is_untouched
        try:
            verifier.verify(given.body, given.headers, NOW)  # type: ignore[arg-type]
        except WebhookError as error:
            figures.refused += 1
            figures.false_refusals += is_untouched
            if type(error) is not WebhookError:
                figures.other_errors[type(error).__name__] += 1
        except BaseException as error:  # anything that comes out is what is looked for
            figures.other_errors[type(error).__name__] += 1
        else:
            figures.taken += 1
            figures.false_accepts += not forger.is_genuine(given)
    figures.seconds = time.monotonic() - began
    return figures


def _blind(place: int) -> Callable[[str, str], bool]:
    return lambda one, other: one[:place] + one[place + 1 :] == other[:place] + other[place + 1 :]


def main() -> int:
    """The exit code: 0 when the figures are clean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of all chance (default: %(default)s)")
    parser.add_argument("--blind", type=int, help="a letter of the signature that is not looked at (a control)")
    given = parser.parse_args()
    figures = forge(given.inputs, given.seed, blind=given.blind)
    sys.stdout.write(f"{figures}\n{'clean' if figures.clean else 'NOT CLEAN'}\n")
    return 0 if figures.clean else 1


if __name__ == "__main__":
    sys.exit(main())
