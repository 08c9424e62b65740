// Payments: a customer places an order, Stripe says that it is paid (a signed event, twice), and the order has its license keys soon.

import crypto from 'k6/crypto';
import http from 'k6/http';
import { sleep } from 'k6';
import { Trend } from 'k6/metrics';
import { nothingWrong } from './lib/judge.js';
import { Customer, orderOf, totalOf } from './lib/cart.js';
import { order } from './lib/orders.js';
import { reports } from './lib/report.js';
import { baseUrl, optionsAt, required, scenario } from './lib/run.js';

const [sku, secret] = ['SKU', 'STRIPE_SIGNING_SECRET'].map(required);
const WITHIN_S = 10;
const untilKeys = new Trend('payment_until_license_keys', true);

export const options = optionsAt(2, { page: 500, stripe_event: 100 }, { payment_until_license_keys: 2000 });

function tell(event) {
  const body = JSON.stringify(event);
  const at = Math.floor(Date.now() / 1000);
  const signature = crypto.hmac('sha256', secret, `${at}.${body}`, 'hex');
  const headers = { 'Content-Type': 'application/json', 'Stripe-Signature': `t=${at},v1=${signature}` };
  return http.post(`${baseUrl}/stripe/webhook/`, body, { headers, tags: { name: 'stripe_event' } });
}

export default scenario(() => {
  const customer = new Customer(__VU * 100000 + __ITER);
  const check = customer.toCheck(sku, 1);
  const total = totalOf(check);
  const placed = customer.submit(check, { total_minor: String(total) });
  const id = orderOf(placed.url);
  nothingWrong('an order is placed', placed.status === 200 && id.startsWith('ORD-') ? [] : [`status ${placed.status} at ${placed.url.split('?')[0]}`]);
  if (!id) return;
  const payment = { id: `pi_${id}`, object: 'payment_intent', amount: total, amount_received: total, currency: 'gbp', metadata: { order_id: id } };
  const event = {
    id: `evt_${id}`, object: 'event', type: 'payment_intent.succeeded', livemode: true, created: Math.floor(Date.now() / 1000),
    data: { object: { ...payment, livemode: true, status: 'succeeded' } },
  };
  const began = Date.now();
  for (const answer of [tell(event), tell(event)]) {
    nothingWrong('Stripe is told that its event is kept', answer.status === 200 ? [] : [`status ${answer.status}: ${answer.body}`]);
  }
  let known = null;
  while (Date.now() - began < WITHIN_S * 1000) {
    known = order(id);
    if (known?.status === 'fulfilled') break;
    sleep(0.05);
  }
  untilKeys.add(Date.now() - began);
  const licenses = known?.items?.flatMap((item) => item.license_keys) ?? [];
  nothingWrong('whoever has paid has license keys', known?.status === 'fulfilled' && licenses.length === 1 ? [] : [`${known?.status}, ${licenses.length} license keys`]);
});

export const handleSummary = (data) => reports('stripe', data);
