"""Text of others: read in its own encoding, or refused in one line that names file and encoding."""

from __future__ import annotations

import codecs

import pytest

from ghostyolo.config import parse_plain_yaml, read_yaml
from ghostyolo.errors import ConfigError
from ghostyolo.files import write_json, write_text
from ghostyolo.text import Names, TextError, masked, printable, read_json, read_lines, read_text, read_xml

CHINESE = "训练图\n第二行"


@pytest.mark.parametrize(
    "data",
    [
        CHINESE.encode(),
        CHINESE.encode("utf-8-sig"),
        CHINESE.encode("utf-16"),
        codecs.BOM_UTF16_BE + CHINESE.encode("utf-16-be"),
        CHINESE.encode("utf-32"),
        CHINESE.replace("\n", "\r\n").encode(),
    ],
)
def test_marked_text_is_read_in_its_encoding(tmp_path, data):
    (tmp_path / "a.txt").write_bytes(data)
    assert read_lines(tmp_path / "a.txt") == CHINESE.split("\n")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_known_by_its_nuls(tmp_path, encoding):
    (tmp_path / "a.txt").write_bytes("images/a.jpg".encode(encoding))
    assert read_text(tmp_path / "a.txt") == "images/a.jpg"


@pytest.mark.parametrize(
    ("text", "encoding", "name"),
    [("猫\n狗", "gbk", "GBK"), ("chaîne", "cp1252", "Windows-1252"), ("カタカナ", "cp932", "JIS")],
)
def test_any_other_encoding_is_refused_by_name(tmp_path, text, encoding, name):
    (tmp_path / "classes.txt").write_bytes(text.encode(encoding))
    with pytest.raises(TextError, match=rf"classes\.txt is not UTF-8 text \(it looks like .*({name})"):
        read_text(tmp_path / "classes.txt")


def test_only_line_ends_end_a_line(tmp_path):
    (tmp_path / "a.txt").write_text("a\u2028b\x85c\x0bd\ne", encoding="utf-8")
    assert read_lines(tmp_path / "a.txt") == ["a\u2028b\x85c\x0bd", "e"]


@pytest.mark.parametrize("encoding", ["gb2312", "gbk", "shift_jis", "utf-16", "iso-8859-1", "utf-8", "big5"])
def test_xml_is_read_in_the_encoding_that_it_declares(tmp_path, encoding):
    name = "chat" if encoding == "iso-8859-1" else "文字"
    (tmp_path / "a.xml").write_bytes(f'<?xml version="1.0" encoding="{encoding}"?>\n<a>{name}</a>'.encode(encoding))
    assert read_xml(tmp_path / "a.xml").text == name


@pytest.mark.parametrize(
    "data", [b'<?xml version="1.0" encoding="klingon"?><a/>', b"<a>\xc3\xa8\xff</a>", b"<a>", b"\x00\x05\x16\x07", b""]
)
def test_xml_that_is_none_is_one_line(tmp_path, data):
    (tmp_path / "a.xml").write_bytes(data)
    with pytest.raises(TextError, match=r"a\.xml") as caught:
        read_xml(tmp_path / "a.xml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("[" * 100_000, "nested too deep"), ('{"a": 1, "a": 2}', "'a' is there twice"), ("{", "not readable JSON")],
)
def test_json_that_cannot_be_trusted_is_one_line(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(TextError, match=message):
        read_json(tmp_path / "a.json")


def test_a_missing_file_and_an_overlong_name_are_one_line(tmp_path):
    for name in ("none", "x" * 300, "nul\0"):
        with pytest.raises(TextError, match="cannot be read"):
            read_text(tmp_path / name)


def test_a_name_that_is_not_utf_8_is_written_escaped_and_json_gives_it_back(tmp_path):
    name = b"\xba\xba.jpg".decode("utf-8", "surrogateescape")
    write_json(tmp_path / "a.json", {"image": name})
    assert read_json(tmp_path / "a.json") == {"image": name}
    write_text(tmp_path / "a.csv", f"{name},1\n")
    assert read_text(tmp_path / "a.csv") == "\\udcba\\udcba.jpg,1\n"
    assert printable(name) == "\\xba\\xba.jpg"


def test_a_file_of_the_longest_name_can_be_written(tmp_path):
    write_text(tmp_path / f"{'x' * 251}.txt", "a")
    assert read_text(tmp_path / f"{'x' * 251}.txt") == "a"


def test_yaml_of_names_keeps_them_as_text():
    text = "names: [no, on, 010, 1e3, 2024-01-01, 1.50, ~, yes]\n0: {0: 0x10}"
    assert parse_plain_yaml(text) == {
        "names": ["no", "on", "010", "1e3", "2024-01-01", "1.50", "~", "yes"],
        "0": {"0": "0x10"},
    }


def test_yaml_in_utf_16_is_read_and_in_gbk_refused(tmp_path):
    (tmp_path / "a.yaml").write_bytes("lr: 0.1".encode("utf-16"))
    assert read_yaml(tmp_path / "a.yaml", "recipe") == {"lr": 0.1}
    (tmp_path / "a.yaml").write_bytes("name: 猫狗".encode("gbk"))
    with pytest.raises(ConfigError, match=r"the recipe .*a\.yaml is not UTF-8 text \(it looks like GBK\)"):
        read_yaml(tmp_path / "a.yaml", "recipe")


def test_a_name_is_found_in_its_other_spellings_but_never_guessed():
    names = Names(["e\u0301te.jpg", "my%20dog.txt", "A.JPG", "b.jpg", "B.jpg"])
    assert names.find("\u00e9te.jpg") == "e\u0301te.jpg"
    assert names.find("my dog.txt") == "my%20dog.txt"
    assert names.find("a.jpg") == "A.JPG"
    assert names.find("B.jpg") == "B.jpg"
    assert names.find("B.JPG") is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://admin:ge/h@eim@10.0.0.1:554/live", "rtsp://***@10.0.0.1:554/live"),
        ("cannot open 'http://u:p@h/x' and rtsp://a:b@c/", "cannot open 'http://***@h/x' and rtsp://***@c/"),
        ("http://h/v?user=a&password=b&x=1", "http://h/v?user=a&password=***&x=1"),
        ("https://h/v.m3u8?X-Signature=abc&token=t", "https://h/v.m3u8?X-Signature=***&token=***"),
        ("rtsp://h/user=a_password=b_channel=1.sdp", "rtsp://h/user=a_password=***"),
        ("http://host:8080/a.jpg", "http://host:8080/a.jpg"),
        ("no address, mail a@b.c", "no address, mail a@b.c"),
    ],
)
def test_passwords_in_addresses_are_hidden(text, shown):
    assert masked(text) == shown
