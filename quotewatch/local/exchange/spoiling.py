"""Turn a good message into one that no reader may take as it is. Pure: bytes in, bytes out."""

from typing import Any, Literal

import msgspec

Flaw = Literal["cut", "missing", "negative_price", "bad_size", "bad_time", "wrong_type"]
FLAWS: tuple[Flaw, ...] = (
    "cut",
    "negative_price",
    "missing",
    "bad_size",
    "wrong_type",
    "bad_time",
)


def spoil(text: bytes, flaw: Flaw) -> bytes:
    """Give an update of a book or a message of trades one flaw."""
    if flaw == "cut":
        return text[: len(text) * 2 // 3]
    message: dict[str, Any] = msgspec.json.decode(text)
    if "changes" in message:
        _spoil_changes(message, flaw)
    elif "events" in message:
        event = message["events"][0]
        _spoil_record((event.get("updates") or event.get("trades"))[0], flaw)
    else:
        _spoil_record(message, flaw)
    return msgspec.json.encode(message)


def _spoil_changes(message: dict[str, Any], flaw: Flaw) -> None:
    change = message["changes"][0]
    if flaw == "missing":
        del message["changes"]
    elif flaw == "bad_time":
        message["time"] = "yesterday"
    elif flaw == "wrong_type":
        message["changes"] = {"buy": change[1]}
    elif flaw == "negative_price":
        change[1] = f"-{change[1]}"
    else:
        change[2] = "1.2.3"


def _spoil_record(record: dict[str, Any], flaw: Flaw) -> None:
    """Spoil a trade or a level, whatever the dialect calls its fields."""
    price = "price" if "price" in record else "price_level"
    size = "size" if "size" in record else "new_quantity"
    if flaw == "missing":
        del record[size]
    elif flaw == "bad_time":
        record["time" if "time" in record else "event_time"] = "2026-02-30T25:61:00Z"
    elif flaw == "wrong_type":
        record[price] = [record[price]]
    elif flaw == "negative_price":
        record[price] = f"-{record[price]}"
    else:
        record[size] = "a lot"
