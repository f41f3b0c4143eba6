"""JSON Web Tokens signed with HS256, as an identity provider makes them. Must not check any."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

SECRET = "a secret of at least thirty-two bytes"


def signed(lifetime_s: float, **rights: Any) -> str:
    """A token that ends so many seconds from now."""
    claims = {"sub": "test", "exp": int(time.time() + lifetime_s), "gridcast": rights}
    parts = [_encoded({"alg": "HS256", "typ": "JWT"}), _encoded(claims)]
    mac = hmac.new(SECRET.encode(), ".".join(parts).encode(), hashlib.sha256).digest()
    return ".".join([*parts, _base64(mac)])


def _encoded(value: Any) -> str:
    return _base64(json.dumps(value).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
