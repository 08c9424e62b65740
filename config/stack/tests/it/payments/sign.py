"""Signs an event with Stripe's own library, well and badly, and says whether the library takes what we have signed."""
import base64
import json
import sys
import time

import stripe
from stripe import Webhook, WebhookSignature

question = json.load(open(sys.argv[1]))
body = base64.b64decode(question["body"]).decode()
now = int(time.time())


def v1(secret, at):
    return WebhookSignature._compute_signature(f"{at}.{body}", secret)


def header(secret, at=now):
    return f"t={at},v1={v1(secret, at)}"


def takes(payload):
    try:
        Webhook.construct_event(payload, question["ours"], question["secret"])
        return True
    except stripe.SignatureVerificationError:
        return False


secret, following = question["secret"], question["next"]
print(json.dumps({
    "takes_ours": takes(body),
    "takes_changed": takes(body.replace("2999", "2998")),
    "good": header(secret),
    "next": header(following),
    "both": f"t={now},v1={v1('whsec_of_somebody_else', now)},v1={v1(secret, now)},v0={v1('x' * 20, now)}",
    "almost_late": header(secret, now - 290),
    "late": header(secret, now - 302),
    "early": header(secret, now + 310),
    "wrong_secret": header("whsec_of_somebody_else"),
    "v0": header(secret).replace("v1=", "v0="),
}))
