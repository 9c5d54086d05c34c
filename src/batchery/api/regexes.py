"""The regular expressions of CloudWatch Logs filter patterns, matched in linear time.

Between percent signs AWS takes letters, digits, the symbols ``_ # = @ / ; , - :`` and space, the operators
``^ $ ? [ ] { } | \\ * + .`` and the classes ``\\d \\D \\s \\S \\w \\W \\xhh``, but no parentheses (CloudWatch Logs
user guide, "Supported regular expressions"). Without groups an expression is a choice of sequences of single
characters, each with a quantifier, so a line is matched by a set of places in those sequences that moves one
character at a time. The sets become states of a machine that is built as it is needed: one look-up a character,
whatever the pattern. (Python's own `re` would take minutes for ``.*a.*b.*c`` on an unlucky line, and the whole
server would wait.) Decision 071.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

SYMBOLS = frozenset("_#=@/;,-: ")
MAX_PLACES = 500
MAX_STATES = 2_000  # remembered at a time

Class = Callable[[str], bool]


class PatternError(Exception):
    """The filter pattern is not valid; the text says what is wrong with it."""


class Place(NamedTuple):
    """One character to match. ``optional``: it may be left out; ``repeats``: it may come again."""

    accepts: Class
    optional: bool
    repeats: bool


class Regex:
    """A compiled expression. Raises PatternError."""

    def __init__(self, text: str) -> None:
        self._places: list[Place | None] = []  # None: the end of a sequence
        self._starts: list[int] = []  # first places of sequences that may begin anywhere
        self._anchored: list[int] = []  # of those that begin with ^
        self._to_end: set[int] = set()  # ends of sequences that close with $
        for sequence in _alternatives(text):
            self._add(sequence)
        self._rows: dict[int, dict[str, int]] = {}
        self._always = self._reach(self._starts)
        self._final = sum(1 << n for n, place in enumerate(self._places) if place is None)
        self._final_at_end = sum(1 << n for n in self._to_end)
        self._final_anywhere = self._final & ~self._final_at_end

    def search(self, text: str) -> bool:
        """Whether some part of ``text`` matches."""
        state = self._always | self._reach(self._anchored)
        if state & self._final_anywhere:
            return True
        rows, found = self._rows, self._final_anywhere
        for char in text:
            row = rows.get(state)
            if row is None:
                if len(rows) >= MAX_STATES:
                    rows.clear()
                row = rows[state] = {}
            after = row.get(char)
            if after is None:
                after = row[char] = self._step(state, char)
            state = after
            if state & found:
                return True
        return bool(state & self._final_at_end)

    def _add(self, sequence: str) -> None:
        anchored = sequence.startswith("^")
        body = sequence[1:] if anchored else sequence
        ends = body.endswith("$") and not body.endswith("\\$")
        (self._anchored if anchored else self._starts).append(len(self._places))
        self._places.extend(_places(body[:-1] if ends else body))
        if ends:
            self._to_end.add(len(self._places))
        self._places.append(None)
        if len(self._places) > MAX_PLACES:
            raise PatternError("Invalid filter pattern: the regular expression is too long")

    def _reach(self, places: list[int]) -> int:
        """The set of these places and of those behind them that optional ones lead to."""
        found = 0
        for n in places:
            while True:
                found |= 1 << n
                place = self._places[n]
                if place is None or not place.optional:
                    break
                n += 1
        return found

    def _step(self, state: int, char: str) -> int:
        onward: list[int] = []
        while state:
            n = state.bit_length() - 1
            state ^= 1 << n
            place = self._places[n]
            if place is not None and place.accepts(char):
                onward += (n + 1, n) if place.repeats else (n + 1,)
        return self._always | self._reach(onward)


def _alternatives(text: str) -> list[str]:
    parts, part, at, inside = [], "", 0, False
    while at < len(text):
        char = text[at]
        size = 2 if char == "\\" else 1
        inside = char == "[" or (inside and char != "]")
        if char == "|" and not inside:
            parts.append(part)
            part = ""
        else:
            part += text[at : at + size]
        at += size
    return [*parts, part]


def _places(text: str) -> Iterator[Place]:
    at = 0
    while at < len(text):
        accepts, at = _single(text, at)
        low, high, at = _quantifier(text, at)
        for _ in range(low - 1 if high is None and low else low):
            yield Place(accepts, False, False)
        if high is None:
            yield Place(accepts, low == 0, True)
        else:
            for _ in range(high - low):
                yield Place(accepts, True, False)


def _single(text: str, at: int) -> tuple[Class, int]:
    char = text[at]
    if char == "\\":
        return _escape(text, at)
    if char == "[":
        return _bracket(text, at)
    if char == ".":
        return (lambda c: c != "\n"), at + 1
    if not (char.isascii() and char.isalnum()) and char not in SYMBOLS:
        raise PatternError(f"Invalid character(s) in term '%{text}%'")
    return char.__eq__, at + 1


_CLASSES: dict[str, Class] = {
    "d": lambda c: c.isascii() and c.isdigit(),
    "D": lambda c: not (c.isascii() and c.isdigit()),
    "s": str.isspace,
    "S": lambda c: not c.isspace(),
    "w": lambda c: c == "_" or (c.isascii() and c.isalnum()),
    "W": lambda c: c != "_" and not (c.isascii() and c.isalnum()),
}


def _escape(text: str, at: int) -> tuple[Class, int]:
    kind = text[at + 1 : at + 2]
    if kind == "x":
        try:
            return chr(int(text[at + 2 : at + 4], 16)).__eq__, at + 4
        except ValueError:
            raise PatternError(f"Invalid character(s) in term '%{text}%'") from None
    if kind in _CLASSES:
        return _CLASSES[kind], at + 2
    if not kind or kind.isalnum():
        raise PatternError(f"Invalid character(s) in term '%{text}%'")
    return kind.__eq__, at + 2


def _bracket(text: str, at: int) -> tuple[Class, int]:
    """A class like ``[abx-z\\d]`` or ``[^...]``."""
    at += 1
    negated = text[at : at + 1] == "^"
    at += negated
    tests: list[Class] = []
    while at < len(text) and (text[at] != "]" or not tests):
        if text[at] == "\\":
            test, at = _escape(text, at)
            tests.append(test)
        elif text[at + 1 : at + 2] == "-" and text[at + 2 : at + 3] not in ("]", ""):
            tests.append(_between(text[at], text[at + 2]))
            at += 3
        else:
            tests.append(text[at].__eq__)
            at += 1
    if at >= len(text):
        raise PatternError(f"Invalid filter pattern: '[' without ']' in '%{text}%'")
    if negated:
        return (lambda c: not any(test(c) for test in tests)), at + 1
    return (lambda c: any(test(c) for test in tests)), at + 1


def _between(first: str, last: str) -> Class:
    if first > last:
        raise PatternError(f"Invalid filter pattern: bad range {first}-{last}")
    return lambda c: first <= c <= last


def _quantifier(text: str, at: int) -> tuple[int, int | None, int]:
    """(least, most or None, where it ends)."""
    match text[at : at + 1]:
        case "?":
            return 0, 1, at + 1
        case "*":
            return 0, None, at + 1
        case "+":
            return 1, None, at + 1
        case "{":
            close = text.find("}", at)
            low, comma, high = text[at + 1 : max(close, at)].partition(",")
            if close < 0 or not low.isdecimal() or not (high.isdecimal() or not high):
                raise PatternError(f"Invalid filter pattern: bad repetition in '%{text}%'")
            least, most = int(low), int(low) if not comma else int(high) if high else None
            if max(least, most or 0) > MAX_PLACES or (most is not None and most < least):
                raise PatternError(f"Invalid filter pattern: bad repetition in '%{text}%'")
            return least, most, close + 1
    return 1, 1, at
