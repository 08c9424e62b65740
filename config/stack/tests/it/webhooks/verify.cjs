// As verify.py, with the npm package of the same name.
const fs = require("node:fs");
const { Webhook } = require("standardwebhooks");

const [secret, file] = process.argv.slice(2);
const webhook = new Webhook(secret);
const accepts = (body, headers) => {
  try {
    webhook.verify(body, headers);
    return true;
  } catch {
    return false;
  }
};

let count = 0;
for (const line of fs.readFileSync(file, "utf8").trim().split("\n")) {
  const { headers, body: encoded } = JSON.parse(line);
  const body = Buffer.from(encoded, "base64");
  const changed = Buffer.from(body);
  changed[(count * 7) % body.length] ^= 1 << (count % 8);
  if (!accepts(body, headers)) throw new Error(`delivery ${count} is refused`);
  if (accepts(changed, headers)) throw new Error(`delivery ${count}, changed, is accepted`);
  count += 1;
}
console.log(count);
