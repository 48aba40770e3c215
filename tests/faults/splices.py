"""Bytes that readers have stumbled over elsewhere."""

import numpy as np

SPLICES = [
    b"",
    b"\x00",
    b"\xff" * 8,
    b"\n" * 50,
    b"[" * 200,
    b"{" * 200,
    b"- " * 100,
    b"&a *a",
    b"!!python/x",
    b'"',
    b"nan",
    b"BF16",
    b"1e999",
    b"-1",
    b"9" * 30,
    b"\xef\xbb\xbf",
    b"..",
    b"/etc/passwd",
    b"\x80\x02",
    np.uint64(2**63).tobytes(),
    np.uint32(2**31).tobytes(),
    np.uint32(2**31).byteswap().tobytes(),
]
