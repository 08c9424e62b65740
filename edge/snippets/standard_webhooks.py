# pip install standardwebhooks
from standardwebhooks.webhooks import Webhook

# Raises when the signature is wrong, or more than five minutes old.
event = Webhook(webhook_secret).verify(body, headers)
