# pip install flask
import hashlib
import hmac
import os

from flask import Flask, request

WEBHOOK_SECRET = os.environ["WEBHOOK_SECRET"]  # whsec_...

app = Flask(__name__)


@app.post("/webhook")
def webhook():
    expected = "sha256=" + hmac.new(WEBHOOK_SECRET.encode(), request.get_data(), hashlib.sha256).hexdigest()
    signature = request.headers.get("X-AnonymousPay-Signature", "")
    if not hmac.compare_digest(expected.encode(), signature.encode()):
        return "wrong signature", 400
    event = request.get_json()
    print(event["event"], event["order_id"], event["status"], flush=True)
    return "", 200


app.run(port=5000)
