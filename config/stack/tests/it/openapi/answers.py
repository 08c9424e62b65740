"""Answers that generated requests never get, because they need a state of the system or an effort: each has to have the status that is
expected here, and to be as the document says.

answers.py URL SCENE, with keys in the environment: ANONYMOUSPAY_KEY, and ANONYMOUSPAY_LIMITED_KEY, which may not make checkout sessions and
looks at orders once a minute.
"""

import os
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
GEO, TAX, DOCUMENT = "/api/v1/geo/subdivisions/", "/api/v1/tax/rates/", "/api/v1/openapi.json"
UNKNOWN_ORDER = "ORD-000000000000000000"
CART = {"cart": {"WIN-11-PRO": 1}, "currency": "GBP"}

CONFORMANCE = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]

document = schemathesis.openapi.from_url(URL + DOCUMENT)


def expect(status, method, path, code=None, order_id=UNKNOWN_ORDER, key=KEY, header=None, query=None, **content):
    """Sends a request and checks its answer. `content` is what `requests` takes: `json`, `data`."""
    values = {"slug": "my-store", "order_id": order_id} if path is ORDER or path is REVOKE else {"slug": "my-store"}
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


def slowly():
    yield b"{"
    time.sleep(1.5)
    yield b"}"


def without_worker():
    accepted = expect(202, "POST", FULFILL, json=order("later"))
    order_id = accepted.json()["order_id"]
    assert accepted.headers["Location"] == ORDER.format(slug="my-store", order_id=order_id)
    assert expect(200, "GET", ORDER, order_id=order_id).json()["status"] == "processing"
    assert len(expect(200, "GET", ORDERS, query={"status": "processing"}).json()["data"]) == 1
    expect(409, "POST", REVOKE, "order_not_revocable", order_id=order_id)


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
    order_id = first.json()["order_id"]
    assert expect(200, "GET", ORDER, order_id=order_id).json()["items"][0]["license_keys"]
    assert expect(200, "POST", REVOKE, order_id=order_id).json()["status"] == "revoked"
    assert expect(201, "POST", FULFILL, json=order("r-1")).json()["items"][0]["license_keys"] == []

    expect(201, "POST", CHECKOUT, json=CART)
    expect(400, "POST", CHECKOUT, "price_not_available", json={**CART, "currency": "JPY"})
    long = {f"name-{n}": '"' * 95 for n in range(20)}
    expect(400, "POST", CHECKOUT, "session_too_large", json={**CART, "metadata": long})
    for path in (CHECKOUT, FULFILL, REVOKE):
        expect(408, "POST", path, "request_timeout", header={"Content-Type": "application/json"}, data=slowly())
        expect(413, "POST", path, "body_too_large", header={"Content-Type": "application/json"}, data=b" " * 65_537)
        expect(415, "POST", path, "unsupported_media_type", header={"Content-Type": "text/plain"}, data="{}")
    for method, path in [("POST", CHECKOUT), ("POST", FULFILL), ("GET", ORDERS), ("GET", ORDER), ("POST", REVOKE), ("GET", GEO), ("GET", TAX)]:
        expect(414, method, path, "uri_too_long", query={"x": "x" * 9_000})
        expect(431, method, path, "head_too_large", header={f"X-{n}": "x" for n in range(65)})
    for path in (CHECKOUT, FULFILL, ORDERS, ORDER, REVOKE):
        method = "GET" if path in (ORDERS, ORDER) else "POST"
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
    for method, path, content in [("POST", FULFILL, {"json": order("r-9")}), ("GET", ORDERS, {}), ("GET", ORDER, {}), ("POST", REVOKE, {})]:
        expect(503, method, path, "unavailable", **content)
    expect(201, "POST", CHECKOUT, json=CART)


{"without_worker": without_worker, "with_everything": with_everything, "without_postgres": without_postgres}[SCENE]()
