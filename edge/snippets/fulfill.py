import time

import requests

order = {
    "customer_email": "customer@your-site.com",
    "items": [{"sku": "WIN-11-PRO", "quantity": 1}],
    "external_reference": "your-payment-id",
    "currency": "GBP",
    "total_minor": 2999,
}
for attempt in range(8):
    try:
        resp = requests.post(
            "https://pay.example.com/api/v1/stores/my-store/licensing/fulfill/",
            headers={"Authorization": "Bearer sk_live_..."},
            json=order,
            timeout=30,
        )
    except requests.ConnectionError:
        resp = None
    # No answer, 5xx and 429 mean: send the same body again. The same reference is the same order, never a second one.
    if resp is not None and resp.status_code < 500 and resp.status_code != 429:
        break
    time.sleep(int(resp.headers.get("Retry-After", 1)) if resp is not None else 2**attempt)
resp.raise_for_status()
for item in resp.json()["items"]:
    print(item["sku"], *item["license_keys"])
