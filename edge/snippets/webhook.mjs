// npm install express
import { createHmac, timingSafeEqual } from 'node:crypto';
import express from 'express';

const WEBHOOK_SECRET = process.env.WEBHOOK_SECRET; // whsec_...

const app = express();

// The signature is over the body as it came: take it before anything parses it.
app.post('/webhook', express.raw({ type: 'application/json' }), (req, res) => {
  const expected = Buffer.from('sha256=' + createHmac('sha256', WEBHOOK_SECRET).update(req.body).digest('hex'));
  const signature = Buffer.from(req.get('X-AnonymousPay-Signature') ?? '');
  if (signature.length !== expected.length || !timingSafeEqual(signature, expected)) {
    return res.status(400).send('wrong signature');
  }
  const event = JSON.parse(req.body);
  console.log(event.event, event.order_id, event.status);
  res.sendStatus(200);
});

app.listen(3000);
