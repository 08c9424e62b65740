import requests
resp = requests.post(
"https://pay.example.com/api/v1/stores/my-store/checkout/session/",
headers={"Authorization": "Bearer sk_live_..."},
json={
"cart": {"WIN-11-PRO": 1},
"currency": "GBP",
},
)
data = resp.json()
checkout_url = data["checkout_url"]
