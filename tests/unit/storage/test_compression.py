"""Compressed streams: recognised, read, refused when they are broken, made."""

import bz2
import gzip
import io
import lzma
import os

import pytest
import zstandard

from orlop.spec.errors import Corrupt, InvalidArgument
from orlop.storage.compression import BlockSource, compress, detect, inflate, sniff

CONTENT = os.urandom(100_000) + b"orlop" * 1_000_000
ENCODED = {
    "": CONTENT,
    "gzip": gzip.compress(CONTENT, 1),
    "bzip2": bz2.compress(CONTENT),
    "xz": lzma.compress(CONTENT),
    "zstd": zstandard.compress(CONTENT),
}


@pytest.mark.parametrize("compression", ENCODED)
def test_a_stream_is_recognised_and_read(compression: str) -> None:
    source, found = sniff(io.BytesIO(ENCODED[compression]))
    assert found == compression
    assert b"".join(inflate(source, found)) == CONTENT


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "zstd"])
def test_members_one_after_the_other_are_one_stream(compression: str) -> None:
    twice = ENCODED[compression] * 2
    assert b"".join(inflate(io.BytesIO(twice), compression)) == CONTENT * 2


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz"])
@pytest.mark.parametrize("part", [0.001, 0.5, 0.9999])
def test_a_cut_stream_is_corrupt(compression: str, part: float) -> None:
    whole = ENCODED[compression]
    with pytest.raises(Corrupt, match=f"cannot decompress {compression}"):
        list(inflate(io.BytesIO(whole[: int(len(whole) * part)]), compression))


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz"])
def test_a_changed_stream_is_corrupt(compression: str) -> None:
    changed = bytearray(ENCODED[compression])
    changed[len(changed) // 3] ^= 0x55
    with pytest.raises(Corrupt, match=f"cannot decompress {compression}"):
        list(inflate(io.BytesIO(bytes(changed)), compression))


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz", "zstd"])
def test_a_bomb_comes_in_small_blocks(compression: str) -> None:
    encode = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstandard.compress}[compression]
    bomb = encode(bytes(64 << 20))
    sizes = [len(block) for block in inflate(io.BytesIO(bomb), compression)]
    assert sum(sizes) == 64 << 20
    assert max(sizes) <= 1 << 20


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_what_we_compress_we_read(compression: str) -> None:
    blocks = [CONTENT[at : at + 77_777] for at in range(0, len(CONTENT), 77_777)]
    encoded = b"".join(compress(blocks, compression))
    assert detect(encoded) == compression
    assert len(encoded) < len(CONTENT) / 10
    assert b"".join(inflate(BlockSource(iter([encoded])), compression)) == CONTENT


def test_an_unknown_compression_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="cannot compress with lzo"):
        list(compress([b""], "lzo"))


def test_a_source_of_blocks_is_cut_as_asked() -> None:
    source = BlockSource(iter([b"abc", b"de", b"f"]))
    assert [source.read(2), source.read(9), source.read(9), source.read(1), source.read(1)] == [b"ab", b"c", b"de", b"f", b""]
