stripe listen --forward-to https://pay.example.com/stripe/webhook/ \
  --events payment_intent.succeeded,charge.dispute.created,\
charge.dispute.updated,charge.dispute.closed,\
charge.dispute.funds_withdrawn,charge.dispute.funds_reinstated,\
charge.refunded
