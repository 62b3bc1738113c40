"""The keys that leave a container without stopping it (--detach-keys). Pure."""

from orlop.spec.errors import InvalidArgument

DEFAULT_KEYS = b"\x10\x11"  # ctrl-p,ctrl-q
_CONTROLS = {f"ctrl-{key}": code for code, key in enumerate("@abcdefghijklmnopqrstuvwxyz[\\]^_")}


def parse_keys(text: str) -> bytes:
    """ "ctrl-p,ctrl-q" -> the bytes that a terminal sends; "" -> the default. Raises InvalidArgument."""
    if not text:
        return DEFAULT_KEYS
    codes = bytearray()
    for key in text.split(","):
        if len(key) == 1 and key.isascii():
            codes.append(ord(key))
        elif key.lower() in _CONTROLS:
            codes.append(_CONTROLS[key.lower()])
        else:
            raise InvalidArgument(f"invalid detach keys ({text}) provided: Unknown character: '{key}'")
    return bytes(codes)


class DetachKeys:
    """Looks for the sequence in what is typed, over the borders of reads. A start that may still become the sequence is held
    back, and passed on when it does not."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = 0

    def __call__(self, data: bytes) -> tuple[bytes, bool]:
        """What may pass, and whether the sequence is complete."""
        keys, passed = self._keys, bytearray()
        for code in data:
            if code == keys[self._held]:
                self._held += 1
                if self._held == len(keys):
                    self._held = 0
                    return bytes(passed), True
                continue
            passed += keys[: self._held]
            self._held = 0
            if code == keys[0]:
                self._held = 1
            else:
                passed.append(code)
        return bytes(passed), False
