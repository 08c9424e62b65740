"""What a schema cannot say of a request, said here, so that requests which are meant to be good are.

Nothing is done to requests that are meant to be bad, except that a well-formed SKU becomes one that is sold and a well-formed reference
one that is free: otherwise "no such product" and "conflict" could hide that something malformed was taken.
"""

import os
import re

import requests
import schemathesis
from schemathesis.core.parameters import ParameterLocation

SKU = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
REFERENCE = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,255}\Z")
SOLD = [f"SKU-{n:02}" for n in range(50)]
EXAMPLES = {"WIN-11-PRO", "PRODUCT-SKU", "PRODUCT-SKU-1", "PRODUCT-SKU-2"}
KEYS_MAX = 1_000
"""License keys in one order."""
REFERENCES = {}
"""How often each reference was wanted."""


WEBHOOKS = os.environ["ANONYMOUSPAY_URL"] + "/api/v1/stores/my-store/webhooks/"
WEBHOOK = "wh_0193000000007000800000000000a001"
"""The endpoint that is always there."""
WEBHOOKS_MAX = 5
AUTHORIZATION = {"Authorization": "Bearer " + os.environ["ANONYMOUSPAY_KEY"]}


def sold(sku, taken):
    """A SKU of the store's in the place of any other; each only once. Some stay unknown, so that 404 is seen too."""
    if not isinstance(sku, str) or not SKU.match(sku) or sku in EXAMPLES or len(sku) == 7:
        return sku
    free = [other for other in SOLD if other not in taken]
    return free[0] if free else sku


def cart(body):
    lines = {}
    for sku, quantity in body["cart"].items():
        lines[sold(sku, lines)] = quantity
    body["cart"] = lines


def items(body, good):
    taken = set()
    for item in body["items"]:
        if isinstance(item, dict) and "sku" in item:
            item["sku"] = sold(item["sku"], taken)
            if isinstance(item["sku"], str):
                taken.add(item["sku"])
    if good:
        asked = sum(item["quantity"] for item in body["items"])
        for item in body["items"]:
            if asked > KEYS_MAX:
                item["quantity"] = max(1, item["quantity"] * (KEYS_MAX - len(body["items"])) // asked)


def return_urls(metadata):
    """Hosts that are none: a pattern cannot tell."""
    for name in ("return_url_success", "return_url_cancel"):
        if isinstance(metadata.get(name), str):
            metadata[name] = "https://your-site.com/done?" + str(len(metadata[name]))


def integers(value):
    """3.0 is an integer to JSON Schema. The API wants whole numbers written as such, since an amount with a fraction is a mistake."""
    if isinstance(value, dict):
        return {name: integers(member) for name, member in value.items()}
    if isinstance(value, list):
        return [integers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def fresh(case, good):
    """A reference that no order has yet, and no idempotency key of another request: otherwise almost everything would be a conflict. Of
    the good ones every fifth stays as it is, so that conflicts and replays are seen too."""
    reference = case.body["external_reference"]
    REFERENCES[reference] = REFERENCES.get(reference, 0) + 1
    if not good or (REFERENCES[reference] > 1 and REFERENCES[reference] % 5):
        case.body["external_reference"] = f"{reference[:200]} {REFERENCES[reference]} {good}"
        if good or not case.meta.is_negative_at(ParameterLocation.HEADER):
            case.headers.pop("Idempotency-Key", None)


def room_for_a_webhook():
    """As everybody has made one by now, the oldest makes room."""
    found = requests.get(WEBHOOKS, headers=AUTHORIZATION, timeout=10).json()["data"]
    if len(found) >= WEBHOOKS_MAX:
        oldest = next(webhook["id"] for webhook in found if webhook["id"] != WEBHOOK)
        requests.delete(f"{WEBHOOKS}{oldest}/", headers=AUTHORIZATION, timeout=10)


def another_webhook():
    room_for_a_webhook()
    return requests.post(WEBHOOKS, headers=AUTHORIZATION, json={"url": "https://your-site.com/"}, timeout=10).json()["id"]


@schemathesis.hook
def before_call(ctx, case, kwargs):
    body = case.body
    if case.method == "DELETE" and (case.path_parameters or {}).get("webhook_id") == WEBHOOK:
        case.path_parameters["webhook_id"] = another_webhook()
    if case.method == "POST" and case.path.endswith("/webhooks/") and isinstance(body, dict):
        room_for_a_webhook()
    if case.meta is None or not isinstance(body, dict):
        return
    good = case.meta.generation.mode.is_positive
    if good:
        body = case.body = integers(body)
    if isinstance(body.get("cart"), dict):
        cart(body)
    if isinstance(body.get("items"), list):
        items(body, good)
    if good and isinstance(body.get("url"), str):
        body["url"] = "https://your-site.com/webhooks?" + str(len(body["url"]))
    if good and isinstance(body.get("from"), str):
        # Later than any other, and the last that there is.
        body["to"] = "9999-12-30T00:00:00Z"
        if body["from"].startswith("9999"):
            body["from"] = "2026-03-02T00:00:00Z"
    if good and isinstance(body.get("metadata"), dict):
        return_urls(body["metadata"])
    reference = body.get("external_reference")
    if isinstance(reference, str) and REFERENCE.match(reference):
        fresh(case, good)
