import requests

resp = requests.post(
    "https://pay.example.com/api/v1/stores/my-store/checkout/session/",
    headers={"Authorization": "Bearer sk_live_..."},
    json={
        "cart": {"WIN-11-PRO": 1},
        "currency": "GBP",
    },
    timeout=10,
)
resp.raise_for_status()
checkout_url = resp.json()["checkout_url"]
print(checkout_url)
