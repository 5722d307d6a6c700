"""Numbers and times of the simulated market as Coinbase spells them. Pure.

The same price has two spellings, as on the real wire: trimmed in snapshots, all digits in updates.
"""

from datetime import UTC, datetime

from quotewatch.local.exchange.listings import MAX_DIGITS, Listing

US = 1_000_000
_REMEMBERED = 50_000
_UNITS = [int(10**digits) for digits in range(MAX_DIGITS + 1)]
_QUIET_SECONDS = 100


def decimal_text(units: int, digits: int) -> str:
    """Spell units of 10^-digits with the trailing zeros trimmed."""
    if not digits:
        return str(units)
    whole, fraction = divmod(units, _UNITS[digits])
    if not fraction:
        return str(whole)
    return f"{whole}.{fraction:0{digits}d}".rstrip("0")


def padded_text(units: int, digits: int) -> str:
    """Spell units of 10^-digits with all eight decimals."""
    whole, fraction = divmod(units * _UNITS[MAX_DIGITS - digits], 10**MAX_DIGITS)
    return f"{whole}.{fraction:08d}"


class Trimmed(dict[int, str]):
    """decimal_text, remembered."""

    def __init__(self, digits: int) -> None:
        super().__init__()
        self.digits = digits

    def __missing__(self, units: int) -> str:
        if len(self) >= _REMEMBERED:
            self.clear()
        text = self[units] = decimal_text(units, self.digits)
        return text


class Padded(Trimmed):
    """padded_text, remembered."""

    def __missing__(self, units: int) -> str:
        if len(self) >= _REMEMBERED:
            self.clear()
        text = self[units] = padded_text(units, self.digits)
        return text


class Spelling:
    """How the numbers of one product are written."""

    def __init__(self, listing: Listing) -> None:
        self.price = Trimmed(listing.price_digits)
        self.padded_price = Padded(listing.price_digits)
        self.size = Trimmed(listing.size_digits)
        # A removed level is spelled "0" or "0.00000000": readers meet both.
        self.size_or_zeros = Trimmed(listing.size_digits)
        self.size_or_zeros[0] = "0.00000000"


class TimeTexts:
    """Microseconds since 1970 to text. The second is remembered; most times share one."""

    def __init__(self) -> None:
        self._seconds: dict[int, str] = {}

    def second(self, second: int) -> str:
        """Return date and time to the second, without a fraction or a zone."""
        text = self._seconds.get(second)
        if text is None:
            if len(self._seconds) > _QUIET_SECONDS:
                self._seconds.clear()
            moment = datetime.fromtimestamp(second, tz=UTC)
            text = self._seconds[second] = moment.strftime("%Y-%m-%dT%H:%M:%S")
        return text

    def trimmed(self, time_us: int) -> str:
        """Spell a time of the exchange: trailing zeros go, and so does an empty fraction."""
        second, fraction = divmod(time_us, US)
        if not fraction:
            return f"{self.second(second)}Z"
        if fraction % 10:
            return f"{self.second(second)}.{fraction:06d}Z"
        return f"{self.second(second)}.{f'{fraction:06d}'.rstrip('0')}Z"

    def nanoseconds(self, time_us: int, extra_ns: int) -> str:
        """Spell a time of an Advanced Trade envelope: nine digits."""
        second, fraction = divmod(time_us, US)
        return f"{self.second(second)}.{fraction:06d}{extra_ns:03d}Z"
