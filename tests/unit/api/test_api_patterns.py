"""Filter patterns: the examples of the user guide, and what is refused."""

import random
import re
import time

import pytest

from batchery.api.patterns import PatternError, compile_pattern, split_fields
from batchery.api.regexes import Regex

RECORD = (
    '{"eventType": "UpdateTrail", "sourceIPAddress": "111.111.111.111", "arrayKey": ["value", "another value"],'
    ' "objectList": [{"name": "a", "id": 1}, {"name": "b", "id": 2}], "SomeObject": null, "ThisFlag": true,'
    ' "latency": 250.5, "code": 404, "cluster.name": "c", "empty": ""}'
)
USERS = (
    '{"user": {"id": 1, "email": "John.Stiles@example.com"}, "users": [{"id": 2, "email": "John.Doe@example.com"},'
    ' {"id": 3, "email": "Jane.Doe@example.com"}], "actions": ["GET", "PUT", "DELETE"],'
    ' "coordinates": [[0, 1, 2], [4, 5, 6], [7, 8, 9]]}'
)
REQUEST = '127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /apache_pb.gif HTTP/1.0" 404 1534'

MATCHES = [
    ("", "anything"),
    ("  ", ""),
    ('""', "anything"),
    ("ERROR", "[ERROR] A fatal exception has occurred"),
    ("ERROR", "Exiting with ERRORCODE: -1"),
    ("ERROR Exception", "[ERROR] Caught IllegalArgumentException"),
    ("Failed to process the request", "[ERROR] Unable to continue: Failed to process the request"),
    ('"exit code" 3', "exit code 3"),
    ('"say \\"hi\\""', 'I say "hi" now'),
    ("ERROR -WARN", "ERROR message"),
    ('"ERROR" - "Exiting"', "ERROR at the start"),
    ("-DEBUG", "INFO message"),
    ("?ERROR ?WARN", "WARN message"),
    ("?ERROR ?WARN INFO", "INFO alone: question marks count only among themselves"),
    ("été_1", "un été_1 chaud"),
    ("%colou?r%", "the color"),
    ("%^[hc]at$% ", "hat"),
    ('%AUTH% "x"', "UNAUTHORIZED x"),
    ('{ $.eventType = "UpdateTrail" }', RECORD),
    ("{$.eventType=UpdateTrail}", RECORD),
    ("{ $.eventType = Update* }", RECORD),
    ('{ $.eventType = "*Trail" }', RECORD),
    ("{ $.eventType = *date* }", RECORD),
    ("{ $.eventType = %^Up[a-z]+% }", RECORD),
    ("{ $.sourceIPAddress != 123.123.* }", RECORD),
    ('{ $.arrayKey[0] = "value" }', RECORD),
    ("{ $.objectList[1].id = 2 }", RECORD),
    ("{ $.SomeObject IS NULL }", RECORD),
    ("{ $.SomeOtherObject NOT EXISTS }", RECORD),
    ("{ $.arrayKey[2] NOT EXISTS }", RECORD),
    ("{ $.ThisFlag IS TRUE }", RECORD),
    ("{ ($.ThisFlag IS TRUE) && $.ThisFlag = true }", RECORD),
    ("{ $.latency = * }", RECORD),
    ("{ $.latency >= 250.5 && $.latency < 2.6e2 && $.latency > +10 && $.latency <= 1e3 }", RECORD),
    ("{ $.code = 404.0 }", RECORD),
    ("{ $.code = 4* }", RECORD),
    ("{ $.code != 500 }", RECORD),
    ("{ $['cluster.name'] = c }", RECORD),
    ('{ $.empty = "" }', RECORD),
    ('{ ($.user.id = 1) && ($.users[0].email = "John.Doe@example.com") }', USERS),
    ('{ $.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = nonmatch && $.actions[2] = nomatch }', USERS),
    ("{ $[0].a = 1 }", '[{"a": 1}]'),
    ("[ip, user, username, timestamp, request, status_code, bytes]", REQUEST),
    ("[ip, user, username, timestamp, request, status_code = 4*, bytes > 1000]", REQUEST),
    ("[ip, user, username, timestamp, request = *pb.gif*, status_code = 404, bytes]", REQUEST),
    ("[..., status_code = 4* && status_code != 403, bytes]", REQUEST),
    ("[ip, user, ..., status_code, bytes <= 1534]", REQUEST),
    ("[ip = 127*, ...]", REQUEST),
    ("[..., request=*.gif*, status_code=4*,]", REQUEST),
    ('[,,,timestamp = "10/Oct*", ...]', REQUEST),
    ("[...]", REQUEST),
    ("[w1=ERROR, w2]", "ERROR message"),
    ("[w1=ERROR || w1=WARN, w2]", "WARN message"),
    ("[w1=!ERROR&&w1=!WARN, w2]", "INFO message"),
    ("[w1 = %ERR|WARN%, w2]", "WARN message"),
    ("[a, b && (a = 1 || b = 2)]", "3 2"),
]

MISSES = [
    ("error", "ERROR"),
    ("ERROR WARN", "ERROR message"),
    ("ERROR -WARN", "ERROR WARN message"),
    ('"exit code"', "exit  code"),
    ("?ERROR ?WARN", "INFO"),
    ("?ERROR ?WARN INFO", "ERROR"),
    ("%^at%", "hat"),
    ('{ $.eventType = "Update" }', RECORD),
    ("{ $.eventType = Up*Trail }", RECORD),
    ("{ $.missing = x }", RECORD),
    ("{ $.missing != x }", RECORD),
    ("{ $.arrayKey = value }", RECORD),
    ("{ $.arrayKey != value }", RECORD),
    ("{ $.SomeObject != value }", RECORD),
    ("{ $.SomeObject NOT EXISTS }", RECORD),
    ("{ $.missing IS NULL }", RECORD),
    ("{ $.ThisFlag IS FALSE }", RECORD),
    ("{ $.eventType > 1 }", RECORD),
    ("{ $.ThisFlag > 0 }", RECORD),
    ("{ $.eventType.deeper = 1 }", RECORD),
    ("{ $.objectList.id = 2 }", RECORD),
    ("{ $.a = 1 }", "not json"),
    ("{ $.a = 1 }", '{"a": 1'),
    ("{ $.a = 1 }", "[" * 5_000),
    ('{ ($.user.id = 2 && $.users[0].email = "nonmatch") || $.actions[2] = "GET" }', USERS),
    (
        '{ ($.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = nonmatch) && $.actions[2] = nomatch }',
        USERS,
    ),
    ("[w1=ERROR, w2]", "ERROR WARN message"),
    ("[w1=ERROR, w2]", "ERROR"),
    ("[ip, ..., bytes > 2000]", REQUEST),
    ("[a, b, ..., c]", "1 2"),
    ("[a > 5]", "word"),
]

REFUSED = [
    ("foo.bar", "Invalid character(s) in term 'foo.bar'"),
    ("-", "Invalid character(s) in term '-'"),
    ('"open', "quotation mark"),
    ("{ $.a = 1", "If a filter pattern starts with '{' it must end with '}'"),
    ("[a, b", "If a filter pattern starts with '[' it must end with ']'"),
    ("{ a = 1 }", "must begin with '$.'"),
    ("{ $. = 1 }", "no name"),
    ("{ $[ = 1 }", "no name"),
    ("{ $.a = }", "value is missing"),
    ("{ $.a > x }", "needs a number"),
    ("{ $.a > }", "needs a number"),
    ("{ $.a IS BLUE }", "IS BLUE"),
    ("{ $.a }", "is not an operator"),
    ("{ ($.a = 1 }", "parenthesis"),
    ("{ $.a = 1 ) }", "unexpected ')'"),
    ("{" + "(" * 400 + "$.a = 1" + ")" * 400 + "}", "too many parentheses"),
    ("[a, b = 1 && c = 2]", "'c' is not the name of a field"),
    ("[..., a, ...]", "only one"),
    ("[a b]", "unexpected 'b'"),
    ("%a% %b% %c%", "at most 2"),
    ("%open", "must end with '%'"),
    ("%(a)%", "Invalid character(s) in term '%(a)%'"),
    ("%a{2%", "bad repetition"),
    ("%a{3,2}%", "bad repetition"),
    ("%a{9999}%", "bad repetition"),
    ("%a{400}b{400}%", "too long"),
    ("%[z-a]%", "bad range"),
    ("%[a%", "without ']'"),
    ("%\\q%", "Invalid character(s)"),
    ("%\\xzz%", "Invalid character(s)"),
    ("%a\\%", "Invalid character(s)"),
    ("%é%", "Invalid character(s)"),
]


@pytest.mark.parametrize(("pattern", "message"), MATCHES)
def test_matches(pattern: str, message: str) -> None:
    assert compile_pattern(pattern)(message)


@pytest.mark.parametrize(("pattern", "message"), MISSES)
def test_misses(pattern: str, message: str) -> None:
    assert not compile_pattern(pattern)(message)


@pytest.mark.parametrize(("pattern", "words"), REFUSED)
def test_refused(pattern: str, words: str) -> None:
    with pytest.raises(PatternError, match=re.escape(words)):
        compile_pattern(pattern)


def test_fields_that_are_never_closed_are_words() -> None:
    assert split_fields('a [b "c d" e]') == ["a", 'b "c d" e']
    assert split_fields('[a "b c') == ["[a", '"b', "c"]
    assert split_fields("a b c d", 2) == ["a", "b"]


def test_fields_of_an_unlucky_line_take_linear_time() -> None:
    began = time.process_time()
    assert len(split_fields("[ " * 100_000)) == 100_000
    assert time.process_time() - began < 2


def test_regular_expressions_agree_with_pythons() -> None:
    draw = random.Random(7)
    atoms = ["a", "b", ".", "[ab]", "[^a]", "\\d", "\\w", "\\x61", "\\.", "[a-c\\d]", "1"]
    marks = ["", "", "", "?", "*", "+", "{2}", "{1,3}", "{2,}", "{0,1}"]
    for _ in range(1_500):
        parts = []
        for _ in range(draw.randrange(1, 4)):
            body = "".join(draw.choice(atoms) + draw.choice(marks) for _ in range(draw.randrange(0, 5)))
            parts.append(draw.choice(["", "", "^"]) + body + draw.choice(["", "", "$"]))
        pattern = "|".join(parts)
        ours, theirs = Regex(pattern), re.compile(pattern.replace("$", "\\Z"), re.ASCII)
        for _ in range(6):
            text = "".join(draw.choice("abc1.") for _ in range(draw.randrange(0, 9)))
            assert ours.search(text) == bool(theirs.search(text)), (pattern, text)


def test_regular_expressions_take_linear_time() -> None:
    regex = Regex(".*a.*a.*a.*a.*b")
    began = time.perf_counter()
    assert not regex.search("a" * 200_000)
    assert time.perf_counter() - began < 2


def test_regular_expressions_forget_states_beyond_a_bound() -> None:
    regex = Regex("a.{200}b")
    draw = random.Random(3)
    text = "".join(draw.choice("ac") for _ in range(20_000))
    assert not regex.search(text)
    assert regex.search(text[:300] + "a" + "c" * 200 + "b")
