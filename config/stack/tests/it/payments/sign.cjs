// As sign.py, with the npm package of the same name.
"use strict";
const fs = require("node:fs");
const Stripe = require("stripe");

const { webhooks } = new Stripe("sk_test_of_nobody");
const question = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const body = Buffer.from(question.body, "base64").toString();
const now = Math.floor(Date.now() / 1000);
const header = (secret, timestamp = now, scheme = "v1") => webhooks.generateTestHeaderString({ payload: body, secret, timestamp, scheme });
const takes = (payload) => {
  try {
    webhooks.constructEvent(payload, question.ours, question.secret);
    return true;
  } catch {
    return false;
  }
};

const { secret, next } = question;
console.log(JSON.stringify({
  takes_ours: takes(body),
  takes_changed: takes(body.replace("2999", "2998")),
  good: header(secret),
  next: header(next),
  both: `${header("whsec_of_somebody_else")},${header(secret).split(",")[1]},v0=${"0".repeat(64)}`,
  almost_late: header(secret, now - 290),
  late: header(secret, now - 302),
  early: header(secret, now + 310),
  wrong_secret: header("whsec_of_somebody_else"),
  v0: header(secret, now, "v0"),
}));
