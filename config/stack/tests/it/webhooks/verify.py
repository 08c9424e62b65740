"""Verifies deliveries, one JSON object a line, as a partner's server would: with the page's own example and with standardwebhooks.

Every delivery must be accepted as it came, and refused with one bit of its body changed.
"""
import base64
import hashlib
import hmac
import json
import sys

from standardwebhooks.webhooks import Webhook


def by_the_page(webhook_secret, body, signature):
    expected = hmac.new(webhook_secret.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, signature.removeprefix("sha256="))


def by_the_standard(webhook_secret, body, headers):
    try:
        Webhook(webhook_secret).verify(body, headers)
        return True
    except Exception:
        return False


secret, count = sys.argv[1], 0
for number, line in enumerate(open(sys.argv[2])):
    delivery = json.loads(line)
    headers, body = delivery["headers"], base64.b64decode(delivery["body"])
    signature = headers["x-anonymouspay-signature"]
    changed = bytearray(body)
    changed[number * 7 % len(body)] ^= 1 << number % 8
    assert by_the_page(secret, body, signature), f"delivery {number}, by the page"
    assert by_the_standard(secret, body, headers), f"delivery {number}, by the standard"
    assert not by_the_page(secret, bytes(changed), signature), f"delivery {number} changed, by the page"
    assert not by_the_standard(secret, bytes(changed), headers), f"delivery {number} changed, by the standard"
    count += 1
print(count)
