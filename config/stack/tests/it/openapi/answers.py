"""Answers that generated requests never get, because they need a state of the system or an effort: each has to have the status that is
expected here, and to be as the document says.

answers.py URL SCENE, with keys in the environment: ANONYMOUSPAY_KEY, and ANONYMOUSPAY_LIMITED_KEY, which may not make checkout sessions and
looks at orders once a minute.
"""

import os
import re
import sys
import time

import requests
import schemathesis
from schemathesis.specs.openapi import checks

URL, SCENE = sys.argv[1:]
KEY, LIMITED_KEY = os.environ["ANONYMOUSPAY_KEY"], os.environ["ANONYMOUSPAY_LIMITED_KEY"]
STORE = "/api/v1/stores/{slug}"
CHECKOUT, FULFILL = STORE + "/checkout/session/", STORE + "/licensing/fulfill/"
ORDERS, ORDER, REVOKE = STORE + "/orders/", STORE + "/orders/{order_id}/", STORE + "/orders/{order_id}/revoke/"
WEBHOOKS, WEBHOOK = STORE + "/webhooks/", STORE + "/webhooks/{webhook_id}/"
ROTATE, TEST, RESEND_ALL = WEBHOOK + "rotate-secret/", WEBHOOK + "test/", WEBHOOK + "resend/"
DELIVERIES, DELIVERY, RESEND = WEBHOOK + "deliveries/", WEBHOOK + "deliveries/{delivery_id}/", WEBHOOK + "deliveries/{delivery_id}/resend/"
GEO, TAX, DOCUMENT = "/api/v1/geo/subdivisions/", "/api/v1/tax/rates/", "/api/v1/openapi.json"
UNKNOWN = {"order_id": "ORD-000000000000000000", "webhook_id": "wh_" + 32 * "0", "delivery_id": "whd_1"}
URL_OF_WEBHOOK = {"url": "https://your-site.com/webhooks"}
SPAN = {"from": "2026-03-02T00:00:00Z", "to": "2026-03-03T00:00:00Z"}
CART = {"cart": {"WIN-11-PRO": 1}, "currency": "GBP"}

CONFORMANCE = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]

document = schemathesis.openapi.from_url(URL + DOCUMENT)


def expect(status, method, path, code=None, ids={}, key=KEY, header=None, query=None, **content):
    """Sends a request and checks its answer. `ids` name what is in the path; `content` is what `requests` takes: `json`, `data`."""
    known = {"slug": "my-store", **UNKNOWN, **ids}
    values = {name: known[name] for name in re.findall(r"{(\w+)}", path)}
    headers = {"Authorization": f"Bearer {key}"} if path.startswith(STORE) else {}
    headers.update(header or {})
    answer = requests.request(method, URL + path.format(**values), headers=headers, params=query, timeout=20, **content)
    said = f"{method} {path}: {answer.status_code} {answer.text[:500]}"
    assert answer.status_code == status, f"{status} {code or ''} expected. {said}"
    assert code is None or answer.json()["code"] == code, f"{code} expected. {said}"
    case = document[path][method].Case(path_parameters=values if path.startswith(STORE) else {})
    try:
        case.validate_response(answer, checks=CONFORMANCE)
    except Exception as error:
        sys.exit(f"{said}\n{answer.headers}\nis not as documented: {error}")
    return answer


def order(reference, sku="PRODUCT-SKU", quantity=1):
    return {"customer_email": "a@b.example", "items": [{"sku": sku, "quantity": quantity}], "external_reference": reference}


WITH_BODY = [("POST", path) for path in (CHECKOUT, FULFILL, REVOKE, WEBHOOKS, ROTATE, TEST, RESEND_ALL, RESEND)] + [("PATCH", WEBHOOK)]
KEYED_WITHOUT_BODY = [("GET", path) for path in (ORDERS, ORDER, WEBHOOKS, WEBHOOK, DELIVERIES, DELIVERY)] + [("DELETE", WEBHOOK)]


def webhooks():
    made = expect(201, "POST", WEBHOOKS, json=URL_OF_WEBHOOK).json()
    ids = {"webhook_id": made["id"]}
    assert made["secret"] and "secret" not in expect(200, "GET", WEBHOOK, ids=ids).json()
    assert expect(200, "PATCH", WEBHOOK, ids=ids, json={"enabled": False}).json()["disabled_reason"]
    assert expect(200, "POST", ROTATE, ids=ids).json()["previous_secret_until"]
    tried = expect(202, "POST", TEST, ids=ids).json()
    assert expect(200, "GET", DELIVERIES, ids=ids).json()["data"] == [tried]
    of_delivery = {**ids, "delivery_id": tried["id"]}
    assert expect(200, "GET", DELIVERY, ids=of_delivery).json()["body"]
    expect(202, "POST", RESEND, ids=of_delivery)
    expect(404, "GET", DELIVERY, "delivery_not_found", ids=ids | {"delivery_id": "whd_999999999"})
    assert expect(200, "POST", RESEND_ALL, ids=ids, json=SPAN).json() == {"resent": 0, "next_cursor": None}
    for method, path in [*WITH_BODY, *KEYED_WITHOUT_BODY]:
        if "{webhook_id}" in path:
            expect(404, method, path, "webhook_not_found", json=SPAN if path is RESEND_ALL else {})
    for _ in range(4):
        expect(201, "POST", WEBHOOKS, json=URL_OF_WEBHOOK)
    expect(409, "POST", WEBHOOKS, "webhook_limit_reached", json=URL_OF_WEBHOOK)
    for webhook in expect(200, "GET", WEBHOOKS).json()["data"]:
        expect(204, "DELETE", WEBHOOK, ids={"webhook_id": webhook["id"]})


def slowly():
    yield b"{"
    time.sleep(1.5)
    yield b"}"


def without_worker():
    accepted = expect(202, "POST", FULFILL, json=order("later"))
    assert accepted.headers["Location"] == ORDER.format(slug="my-store", **accepted.json())
    assert expect(200, "GET", ORDER, ids=accepted.json()).json()["status"] == "processing"
    assert len(expect(200, "GET", ORDERS, query={"status": "processing"}).json()["data"]) == 1
    expect(409, "POST", REVOKE, "order_not_revocable", ids=accepted.json())


def with_everything():
    first = expect(201, "POST", FULFILL, json=order("r-1"))
    assert "Idempotent-Replayed" not in first.headers
    again = expect(201, "POST", FULFILL, json=order("r-1"))
    assert again.headers["Idempotent-Replayed"] == "true" and again.content == first.content
    expect(409, "POST", FULFILL, "external_reference_conflict", json=order("r-1", quantity=2))
    once = {"Idempotency-Key": "k-1"}
    expect(201, "POST", FULFILL, header=once, json=order("r-2"))
    expect(409, "POST", FULFILL, "idempotency_key_conflict", header=once, json=order("r-3"))
    expect(409, "POST", FULFILL, "out_of_stock", json=order("r-4", sku="POOL", quantity=2))
    expect(404, "POST", FULFILL, "product_not_found", json=order("r-5", sku="NONE"))
    assert expect(200, "GET", ORDER, ids=first.json()).json()["items"][0]["license_keys"]
    assert expect(200, "POST", REVOKE, ids=first.json()).json()["status"] == "revoked"
    assert expect(201, "POST", FULFILL, json=order("r-1")).json()["items"][0]["license_keys"] == []

    expect(201, "POST", CHECKOUT, json=CART)
    expect(400, "POST", CHECKOUT, "price_not_available", json={**CART, "currency": "JPY"})
    long = {f"name-{n}": '"' * 95 for n in range(20)}
    expect(400, "POST", CHECKOUT, "session_too_large", json={**CART, "metadata": long})
    webhooks()
    for method, path in WITH_BODY:
        expect(408, method, path, "request_timeout", header={"Content-Type": "application/json"}, data=slowly())
        expect(413, method, path, "body_too_large", header={"Content-Type": "application/json"}, data=b" " * 65_537)
        expect(415, method, path, "unsupported_media_type", header={"Content-Type": "text/plain"}, data="{}")
    for method, path in WITH_BODY + KEYED_WITHOUT_BODY + [("GET", GEO), ("GET", TAX)]:
        expect(414, method, path, "uri_too_long", query={"x": "x" * 9_000})
        expect(431, method, path, "head_too_large", header={f"X-{n}": "x" for n in range(65)})
    for method, path in WITH_BODY + KEYED_WITHOUT_BODY:
        expect(401, method, path, "invalid_api_key", key=KEY[:-1])
    expect(401, "POST", CHECKOUT, "insufficient_scope", key=LIMITED_KEY, json=CART)

    expect(200, "GET", ORDERS, key=LIMITED_KEY)
    expect(429, "GET", ORDERS, "rate_limited", key=LIMITED_KEY)
    for path in (GEO, TAX):
        tag = expect(200, "GET", path, query={"country": "GB"}).headers["ETag"]
        assert not expect(304, "GET", path, query={"country": "GB"}, header={"If-None-Match": tag}).content
        expect(404, "GET", path, "country_not_found", query={"country": "ZZ"})
    expect(404, "GET", TAX, "subdivision_not_found", query={"country": "US", "subdivision": "ZZZ"})
    expect(200, "GET", DOCUMENT)


def without_postgres():
    bodies = {FULFILL: order("r-9"), WEBHOOKS: URL_OF_WEBHOOK, RESEND_ALL: SPAN}
    for method, path in WITH_BODY + KEYED_WITHOUT_BODY:
        if path is not CHECKOUT:
            expect(503, method, path, "unavailable", json=bodies.get(path, {}))
    expect(201, "POST", CHECKOUT, json=CART)


{"without_worker": without_worker, "with_everything": with_everything, "without_postgres": without_postgres}[SCENE]()
