"""Length prefixes, base64url and JSON: one spelling, and everything else is refused with a typed error."""

from __future__ import annotations

import string
from contextlib import suppress

import pytest

from rekey_core.encoding import (
    b64u_decode,
    b64u_encode,
    canonical_json,
    lp,
    parse_json_strict,
    printable,
    sha256_hex,
)
from rekey_core.errors import OversizedError, SchemaError

LIMIT = 10_000


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        pytest.param((b"",), "00000000", id="an empty part is its length"),
        pytest.param((b"\x01\x02",), "000000020102", id="bytes as they are"),
        pytest.param(("é",), "00000002c3a9", id="text as UTF-8, its length in bytes"),
        pytest.param((1,), "000000080000000000000001", id="a number as 8 bytes, big-endian"),
        pytest.param((2**64 - 1,), "00000008ffffffffffffffff", id="the largest number"),
        pytest.param((b"a", "b"), "00000001610000000162", id="parts in their order"),
    ],
)
def test_length_prefixes(parts: tuple[bytes | str | int, ...], expected: str) -> None:
    assert lp(*parts).hex() == expected


def test_no_two_lists_of_parts_give_the_same_bytes() -> None:
    lists: list[tuple[bytes | str, ...]] = [
        ("ab", "c"),
        ("a", "bc"),
        ("abc",),
        ("ab", "c", ""),
        ("", "ab", "c"),
    ]
    assert len({lp(*parts) for parts in lists}) == len(lists)


def test_no_part_at_all_is_a_misuse() -> None:
    with pytest.raises(ValueError, match="at least one part"):
        lp()


@pytest.mark.parametrize(
    "number", [pytest.param(-1, id="negative"), pytest.param(2**64, id="more than 8 bytes")]
)
def test_a_number_that_does_not_fit_is_a_misuse(number: int) -> None:
    with pytest.raises(OverflowError):
        lp(number)


@pytest.mark.parametrize("length", range(66))
def test_base64url_there_and_back(length: int) -> None:
    data = bytes(255 - i for i in range(length))
    assert b64u_decode(b64u_encode(data)) == data


@pytest.mark.parametrize(
    ("data", "text"),
    # RFC 4648 §10 without padding, and the two characters in which the alphabets differ
    [
        (b"", ""),
        (b"f", "Zg"),
        (b"fo", "Zm8"),
        (b"foo", "Zm9v"),
        (b"foobar", "Zm9vYmFy"),
        (b"\xfb\xff", "-_8"),
    ],
)
def test_base64url_is_the_one_of_the_standard(data: bytes, text: str) -> None:
    assert b64u_encode(data) == text


@pytest.mark.parametrize("before", [pytest.param("Z", id="one byte"), pytest.param("Zm", id="two bytes")])
def test_of_all_last_characters_those_are_taken_that_some_bytes_have(before: str) -> None:
    spelled = {b64u_encode(bytes([byte]) if len(before) == 1 else bytes([0x66, byte])) for byte in range(256)}
    taken = set()
    for last in string.ascii_letters + string.digits + "-_":
        with suppress(SchemaError):
            b64u_decode(before + last)
            taken.add(before + last)
    assert taken == {text for text in spelled if text.startswith(before)}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Zg==", id="padding"),
        pytest.param("+/8", id="the other alphabet"),
        pytest.param("Zh", id="stray bits at the end"),
        pytest.param("Z", id="a length that no bytes have"),
        pytest.param("Zm9vZ", id="one character too many"),
        pytest.param("Zg\n", id="a line feed at the end"),
        pytest.param("Z g", id="a space inside"),
        pytest.param("Zé", id="a character outside ASCII"),
    ],
)
def test_base64url_of_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(SchemaError, match="expected"):
        b64u_decode(text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(
            {"b": 1, "a": [None, True, False]}, b'{"a":[null,true,false],"b":1}', id="sorted, no spaces"
        ),
        pytest.param({"z": {"b": 1, "a": 2}}, b'{"z":{"a":2,"b":1}}', id="sorted inside too"),
        pytest.param({"n": -0}, b'{"n":0}', id="zero has no sign"),
        pytest.param({"n": 2**60 + 1}, b'{"n":1152921504606846977}', id="a large whole number is exact"),
        pytest.param(["é€"], '["é€"]'.encode(), id="UTF-8 instead of escapes"),
        pytest.param(
            ['"\\\b\f\n\r\t\x00\x1f\x7f/'], b'["\\"\\\\\\b\\f\\n\\r\\t\\u0000\\u001f\x7f/"]', id="escapes"
        ),
        pytest.param((1, (2,)), b"[1,[2]]", id="a tuple is a list"),
        # RFC 8785 §3.2.3: its own example of names, which code points would sort otherwise
        pytest.param(
            {"€": 1, "\r": 2, "\ufb33": 3, "1": 4, "😀": 5, "\x80": 6, "ö": 7},
            '{"\\r":2,"1":4,"\x80":6,"ö":7,"€":1,"😀":5,"\ufb33":3}'.encode(),
            id="names by UTF-16 code units",
        ),
    ],
)
def test_canonical_json(value: object, expected: bytes) -> None:
    assert canonical_json(value) == expected


@pytest.mark.parametrize(
    ("value", "found"),
    [
        pytest.param({"a": 1.0}, "float", id="a fraction"),
        pytest.param([float("nan")], "float", id="not a number"),
        pytest.param({"a": b""}, "bytes", id="bytes"),
        pytest.param({1: "a"}, "int", id="a number as a name"),
        pytest.param({"a": {1, 2}}, "set", id="a set"),
    ],
)
def test_what_json_does_not_have_is_a_misuse(value: object, found: str) -> None:
    with pytest.raises(TypeError, match=f"found {found}"):
        canonical_json(value)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b'{"a":1,"a":1}', id="a name twice"),
        pytest.param(b'{"x":{"a":1,"a":2}}', id="a name twice, inside"),
        pytest.param(b'{"a":1,"\\u0061":2}', id="a name twice, once as an escape"),
        pytest.param(b"[1]", id="a list"),
        pytest.param(b'"a"', id="text"),
        pytest.param(b"", id="nothing"),
        pytest.param(b'{"a":1} {"b":2}', id="two objects"),
        pytest.param(b'{"a":1,}', id="a comma too many"),
        pytest.param(b'{"a":NaN}', id="not a number"),
        pytest.param(b'{"a":-Infinity}', id="infinity"),
        pytest.param(b'{"a":1.5}', id="a fraction"),
        pytest.param(b'{"a":1e3}', id="an exponent"),
        pytest.param(b'{"a":' + b"1" * 5000 + b"}", id="a number of 5,000 digits"),
        pytest.param(b'{"a":"\xff"}', id="not UTF-8"),
        pytest.param(b'\xef\xbb\xbf{"a":1}', id="a byte order mark"),
        pytest.param('{"a":1}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b'{"a":"\\ud800"}', id="half a character"),
        pytest.param(b'{"\\udc00":1}', id="half a character as a name"),
        pytest.param(b'{"a":"\n"}', id="a control character as it is"),
        pytest.param(b'{"a":' * 2000, id="2,000 levels"),
    ],
)
def test_json_that_is_not_ours_is_refused(data: bytes) -> None:
    with pytest.raises(SchemaError):
        parse_json_strict(data, limit=LIMIT)


def test_json_longer_than_the_limit_is_refused_before_it_is_read() -> None:
    assert parse_json_strict(b'{"a":1}', limit=7) == {"a": 1}
    with pytest.raises(OversizedError, match="at most 6 bytes, found 7"):
        parse_json_strict(b'{"a":1}', limit=6)


def test_what_is_read_can_be_written_again() -> None:
    data = b'{"a":["\\u00e9",-5,null,true],"b":{"c":"\\ud83d\\ude00"}}'
    assert (
        canonical_json(parse_json_strict(data, limit=LIMIT))
        == '{"a":["é",-5,null,true],"b":{"c":"😀"}}'.encode()
    )


def test_sha256_in_hex() -> None:
    # FIPS 180-4: NIST's example for "abc"
    assert sha256_hex(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("Zoë: laptop — lost, 鍵", "Zoë: laptop — lost, 鍵", id="letters of any language"),
        pytest.param("\x1b[2Ka\x9bb\x07", r"\x1b[2Ka\x9bb\x07", id="what moves a cursor or rings"),
        pytest.param("a\r\nb\tc", r"a\r\nb\tc", id="another line"),
        pytest.param("a\u2028b\x85c", r"a\u2028b\x85c", id="another line by another name"),
        pytest.param(
            "\u202eresu\u2066\u200b", r"\u202eresu\u2066\u200b", id="another direction, or nothing at all"
        ),
        pytest.param("\U000e0041", r"\U000e0041", id="letters that nobody sees"),
    ],
)
def test_text_of_somebody_else_stays_in_its_line(text: str, expected: str) -> None:
    assert printable(text) == expected
