curl -X POST https://pay.example.com/api/v1/stores/my-store/checkout/session/ \
  -H "Authorization: Bearer sk_live_..." \
  -H "Content-Type: application/json" \
  -d '{"cart": {"WIN-11-PRO": 1}, "currency": "GBP"}'
