"""CloudWatch Logs filter patterns: which events FilterLogEvents returns.

Three kinds, told apart by the first character (CloudWatch Logs user guide, "Filter pattern syntax"):

* text: ``ERROR "exit code" -DEBUG``: every term is in the message, no excluded one is; ``?a ?b``: at least one of
  them is. Question marks count only if all terms have one, as AWS does it. ``%regex%`` is a term too.
* JSON: ``{ $.level = "error" && ($.code >= 500 || $.retry IS TRUE) }``
* fields: ``[ip, user, ..., status = 4*, bytes > 1000]``: the message, cut at spaces, has these fields and no others;
  quotes and brackets hold a field together, ``...`` stands for any number of fields.

Terms are case-sensitive. An asterisk at an end of a value stands for anything.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from batchery.api.regexes import PatternError, Regex

__all__ = ["PatternError", "compile_pattern"]

Match = Callable[[str], bool]
Values = Any  # what conditions look at: a decoded JSON value, or a list of fields
Test = Callable[[Values], bool]
Find = Callable[[Values], Any]

MAX_DEPTH = 50
MAX_REGEXES = 2
MISSING: Any = object()
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": float.__lt__,
    "<=": float.__le__,
    ">": float.__gt__,
    ">=": float.__ge__,
}


def compile_pattern(text: str) -> Match:
    """A test for messages. Raises PatternError."""
    pattern = text.strip()
    if pattern.startswith("{"):
        return _json(pattern)
    if pattern.startswith("["):
        return _fields(pattern)
    return _terms(pattern)


class Scanner:
    """Reads a pattern from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.regexes = 0

    def fault(self, what: str) -> PatternError:
        return PatternError(f"Invalid filter pattern: {what}")

    def space(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def done(self) -> bool:
        self.space()
        return self.at >= len(self.text)

    def take(self, *tokens: str) -> str:
        """The first of ``tokens`` that comes next, or ""."""
        self.space()
        for token in tokens:
            if self.text.startswith(token, self.at):
                self.at += len(token)
                return token
        return ""

    def word(self, stops: str) -> str:
        """Everything up to white space or one of ``stops``."""
        begin = self.at
        while self.at < len(self.text) and not self.text[self.at].isspace() and self.text[self.at] not in stops:
            self.at += 1
        return self.text[begin : self.at]

    def quoted(self) -> str:
        """After the opening quote: what is quoted."""
        out = ""
        while self.at < len(self.text):
            char = self.text[self.at]
            self.at += 1
            if char == '"':
                return out
            if char == "\\" and self.text[self.at : self.at + 1] in ('"', "\\"):
                char = self.text[self.at]
                self.at += 1
            out += char
        raise self.fault("a quotation mark is not closed")

    def regex(self) -> Regex:
        """After the opening percent sign."""
        end = self.text.find("%", self.at)
        if end < 0:
            raise self.fault("a regular expression must end with '%'")
        self.regexes += 1
        if self.regexes > MAX_REGEXES:
            raise self.fault(f"at most {MAX_REGEXES} regular expressions")
        text, self.at = self.text[self.at : end], end + 1
        return Regex(text)


# --------------------------------------------------------------------------------------------------------- text


def _terms(pattern: str) -> Match:
    scan = Scanner(pattern)
    wanted: list[Match] = []
    choices: list[Match] = []
    excluded: list[Match] = []
    while not scan.done():
        sign = scan.take("?", "-")
        (choices if sign == "?" else excluded if sign == "-" else wanted).append(_term(scan, sign))
    if choices and not wanted and not excluded:
        return lambda message: any(found(message) for found in choices)
    return lambda message: all(f(message) for f in wanted) and not any(f(message) for f in excluded)


def _term(scan: Scanner, sign: str) -> Match:
    if scan.take('"'):
        phrase = scan.quoted()
        return lambda message: phrase in message
    if scan.take("%"):
        return scan.regex().search
    word = scan.word("")
    if not word or not all(char.isalnum() or char == "_" for char in word):
        raise PatternError(f"Invalid character(s) in term '{sign}{word}'")
    return lambda message: word in message


# --------------------------------------------------------------------------------------------- conditions on values


def _any_of(scan: Scanner, unit: Callable[[Scanner], Test], depth: int = 0) -> Test:
    """``a && b || (c && d)``: parentheses bind first, then &&, then ||."""
    if depth > MAX_DEPTH:
        raise scan.fault("too many parentheses")
    choices = [_all_of(scan, unit, depth)]
    while scan.take("||"):
        choices.append(_all_of(scan, unit, depth))
    return choices[0] if len(choices) == 1 else lambda values: any(test(values) for test in choices)


def _all_of(scan: Scanner, unit: Callable[[Scanner], Test], depth: int) -> Test:
    tests: list[Test] = []
    while True:
        if scan.take("("):
            tests.append(_any_of(scan, unit, depth + 1))
            if not scan.take(")"):
                raise scan.fault("a parenthesis is not closed")
        else:
            tests.append(unit(scan))
        if not scan.take("&&"):
            return tests[0] if len(tests) == 1 else lambda values: all(test(values) for test in tests)


def _comparison(scan: Scanner, find: Find, operator: str) -> Test:
    """What stands right of an operator, as a test of what ``find`` finds."""
    if operator in _COMPARE:
        word, compare = scan.word("&|(),]}") if not scan.done() else "", _COMPARE[operator]
        limit = _number(word)
        if limit is None:
            raise scan.fault(f"'{operator}' needs a number, not '{word}'")
        return lambda values: (number := _as_number(find(values))) is not None and compare(number, limit)
    equal = _equality(scan)
    if operator == "=":
        return lambda values: _is_plain(value := find(values)) and equal(value)
    return lambda values: _is_plain(value := find(values)) and not equal(value)


def _equality(scan: Scanner) -> Callable[[Any], bool]:
    scan.space()
    if scan.take("%"):
        regex = scan.regex()
        return lambda value: regex.search(_text(value))
    quoted = bool(scan.take('"'))
    wanted = scan.quoted() if quoted else scan.word("&|(),]}")
    if not wanted and not quoted:
        raise scan.fault("a value is missing")
    number = None if quoted else _number(wanted)
    likeness = _like(wanted)
    if number is None:
        return lambda value: likeness(_text(value))
    return lambda value: _as_number(value) == number or likeness(_text(value))


def _like(wanted: str) -> Match:
    """Equality, with an asterisk at either end for anything."""
    if wanted in ("*", "**"):
        return lambda text: True
    head, tail = wanted.startswith("*"), wanted.endswith("*")
    core = wanted[1 if head else 0 : -1 if tail else None]
    if head and tail:
        return lambda text: core in text
    if head:
        return lambda text: text.endswith(core)
    if tail:
        return lambda text: text.startswith(core)
    return core.__eq__


def _number(text: str) -> float | None:
    try:
        return float(text) if text[-1:].isdigit() or text[-1:] == "." else None
    except ValueError:
        return None


def _as_number(value: Any) -> float | None:
    """Numbers of JSON; fields of text are strings that may be numbers."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    return _number(value) if isinstance(value, Field) else None


def _is_plain(value: Any) -> bool:
    """A value that conditions apply to: neither missing nor null, an object or an array."""
    return isinstance(value, str | int | float)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# --------------------------------------------------------------------------------------------------------- JSON


def _json(pattern: str) -> Match:
    if not pattern.endswith("}"):
        raise PatternError("If a filter pattern starts with '{' it must end with '}'")
    scan = Scanner(pattern[1:-1])
    test = _any_of(scan, _json_condition)
    if not scan.done():
        raise scan.fault(f"unexpected '{scan.text[scan.at :].strip()}'")

    def match(message: str) -> bool:
        if not message.lstrip().startswith(("{", "[")):
            return False
        try:
            value = msgspec.json.decode(message)
        except (msgspec.DecodeError, RecursionError):
            return False
        return test(value)

    return match


def _json_condition(scan: Scanner) -> Test:
    find = _selector(scan)
    operator = scan.take("!=", "=!", "<=", ">=", "=", "<", ">")
    if operator:
        return _comparison(scan, find, operator)
    scan.space()
    words = (scan.word("&|()").upper(), scan.word("&|()").upper() if not scan.done() else "")
    match words:
        case ("IS", "NULL"):
            return lambda value: find(value) is None
        case ("IS", "TRUE"):
            return lambda value: find(value) is True
        case ("IS", "FALSE"):
            return lambda value: find(value) is False
        case ("NOT", "EXISTS"):
            return lambda value: find(value) is MISSING
    raise scan.fault(f"'{' '.join(words).strip()}' is not an operator")


def _selector(scan: Scanner) -> Find:
    """``$.a.b[0]['c d']``: a function that finds the value, or MISSING."""
    if not scan.take("$"):
        raise scan.fault("a property must begin with '$.'")
    steps: list[str | int] = []
    while scan.text[scan.at : scan.at + 1] in (".", "["):
        scan.at += 1
        if scan.text[scan.at - 1] == ".":
            name = scan.word(".[]=!<>()&|")
        else:
            close = scan.text.find("]", scan.at)
            name = scan.text[scan.at : close] if close > 0 else ""
            scan.at = close + 1 if close > 0 else scan.at
            if name.isdecimal():
                steps.append(int(name))
                continue
            name = name.strip("'\"")
        if not name:
            raise scan.fault("a property has no name")
        steps.append(name)

    def find(value: Any) -> Any:
        for step in steps:
            if isinstance(step, str):
                value = value.get(step, MISSING) if isinstance(value, dict) else MISSING
            else:
                value = value[step] if isinstance(value, list) and step < len(value) else MISSING
        return value

    return find


# -------------------------------------------------------------------------------------------------------- fields


class Field(str):
    """One field of a message; compares as a number if it is one."""


def _fields(pattern: str) -> Match:
    if not pattern.endswith("]"):
        raise PatternError("If a filter pattern starts with '[' it must end with ']'")
    scan = Scanner(pattern[1:-1])
    names: dict[str, int] = {}
    tests: list[tuple[int, Test]] = []
    count, gap = 0, -1  # fields so far; how many come before the ellipsis
    while True:
        if scan.take("..."):
            if gap >= 0:
                raise scan.fault("only one '...'")
            gap = count
        else:
            scan.space()
            if scan.text[scan.at : scan.at + 1] not in (",", ""):
                tests.append((count, _any_of(scan, lambda s, own=count: _field_condition(s, names, own))))  # type: ignore[misc]
            count += 1
        if not scan.take(","):
            break
    if not scan.done():
        raise scan.fault(f"unexpected '{scan.text[scan.at :].strip()}'")

    def match(message: str) -> bool:
        fields = split_fields(message, None if gap >= 0 else count + 1)
        if len(fields) < count or (gap < 0 and len(fields) > count):
            return False
        if gap >= 0:
            fields = [*fields[:gap], *fields[len(fields) - (count - gap) :]]
        return all(test(fields) for _, test in tests)

    return match


def _field_condition(scan: Scanner, names: dict[str, int], own: int) -> Test:
    """``name`` or ``name op value``; the first name in a place names it, others must be names already given."""
    scan.space()
    name = scan.word("=!<>&|(),]")
    if own not in names.values():
        names[name] = own
    place = names.get(name)
    if place is None or not name:
        raise scan.fault(f"'{name}' is not the name of a field")
    operator = scan.take("!=", "=!", "<=", ">=", "=", "<", ">")
    if not operator:
        return lambda fields: True
    return _comparison(scan, lambda fields: fields[place], operator)


def split_fields(message: str, limit: int | None = None) -> Sequence[Field]:
    """Cut at white space; what is between double quotes or square brackets is one field. At most ``limit``."""
    fields: list[Field] = []
    at = 0
    closers = {'"': '"', "[": "]"}
    while at < len(message) and (limit is None or len(fields) < limit):
        char = message[at]
        if char.isspace():
            at += 1
            continue
        end = message.find(closers[char], at + 1) if char in closers else -1
        if end > 0:
            fields.append(Field(message[at + 1 : end]))
            at = end + 1
            continue
        closers.pop(char, None)  # it is never closed: look no further for it, here or later
        begin = at
        while at < len(message) and not message[at].isspace():
            at += 1
        fields.append(Field(message[begin:at]))
    return fields
