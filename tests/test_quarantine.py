"""What is put aside comes back byte for byte, once."""

from pathlib import Path

import pytest

from quotewatch.errors import ObjectError
from quotewatch.message import Message
from quotewatch.objects.local import LocalObjects
from quotewatch.quarantine import Quarantine

MESSAGE = Message(b"\x00 not a frame\n\xff\n", {"stream": "events", "epoch": "e1", "seq": "7"})


@pytest.fixture
def objects(tmp_path: Path) -> LocalObjects:
    return LocalObjects(tmp_path)


@pytest.fixture
def quarantine(objects: LocalObjects) -> Quarantine:
    return Quarantine(objects)


def test_a_message_comes_back_whole_with_the_reason(quarantine: Quarantine) -> None:
    name = quarantine.put("events", MESSAGE, 17, "not zstd\nover Arrow")
    [aside] = quarantine.messages()
    assert aside.name == name
    assert aside.message == MESSAGE
    assert (aside.stream, aside.published_ns) == ("events", 17)
    assert aside.reason == "not zstd\nover Arrow"


@pytest.mark.parametrize("message", [Message(b"", {"a": "b"}), Message(b"bytes"), Message(b"\n{}")])
def test_a_message_may_lack_bytes_or_attributes(quarantine: Quarantine, message: Message) -> None:
    quarantine.put("events", message, 1, "reason")
    assert [aside.message for aside in quarantine.messages()] == [message]


def test_the_same_message_put_aside_twice_is_one_object(quarantine: Quarantine) -> None:
    first = quarantine.put("events", MESSAGE, 17, "first")
    turned = dict(reversed(list(MESSAGE.attributes.items())))
    assert quarantine.put("events", Message(MESSAGE.data, turned), 99, "second") == first
    assert [aside.reason for aside in quarantine.messages()] == ["first"]


def test_messages_that_differ_anywhere_are_kept_apart(quarantine: Quarantine) -> None:
    quarantine.put("events", MESSAGE, 1, "")
    quarantine.put("events", Message(MESSAGE.data + b"!", MESSAGE.attributes), 1, "")
    quarantine.put("events", Message(MESSAGE.data, {**MESSAGE.attributes, "seq": "8"}), 1, "")
    quarantine.put("features", MESSAGE, 1, "")
    assert len(list(quarantine.messages())) == 4


def test_what_is_removed_is_gone_and_only_that(quarantine: Quarantine) -> None:
    quarantine.put("events", MESSAGE, 1, "")
    kept = quarantine.put("features", MESSAGE, 1, "")
    [aside] = [each for each in quarantine.messages() if each.stream == "events"]
    quarantine.remove(aside)
    quarantine.remove(aside)  # another redrive may have been first
    assert [each.name for each in quarantine.messages()] == [kept]


def test_what_goes_away_meanwhile_is_passed_over(quarantine: Quarantine) -> None:
    quarantine.put("events", MESSAGE, 1, "")
    quarantine.put("features", MESSAGE, 1, "")
    walk = quarantine.messages()
    first = next(walk)
    for other in list(quarantine.messages()):
        quarantine.remove(other)
    assert first.stream == "events"
    assert list(walk) == []


def test_an_object_that_is_no_message_is_named(
    quarantine: Quarantine, objects: LocalObjects
) -> None:
    objects.create("quarantine/events/by-hand", b"what is this")
    with pytest.raises(ObjectError, match=r"quarantine/events/by-hand.*by hand"):
        list(quarantine.messages())
