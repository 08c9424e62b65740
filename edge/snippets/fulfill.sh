curl -X POST https://pay.example.com/api/v1/stores/my-store/licensing/fulfill/ \
  -H "Authorization: Bearer sk_live_..." \
  -H "Content-Type: application/json" \
  -d '{
    "customer_email": "customer@your-site.com",
    "items": [{"sku": "WIN-11-PRO", "quantity": 1}],
    "external_reference": "your-payment-id",
    "currency": "GBP",
    "total_minor": 2999
  }'
