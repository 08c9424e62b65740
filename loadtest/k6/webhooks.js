// Webhooks, the whole way: an order is made, and the store's server has taken both of its events. That server answers 2xx only when the
// signature is right, so that "delivered" means "arrived and verified".

import http from 'k6/http';
import { sleep } from 'k6';
import { Trend } from 'k6/metrics';
import { json, nothingWrong } from './lib/judge.js';
import { reports } from './lib/report.js';
import { baseUrl, options as of, profile, required, runId } from './lib/run.js';

const [store, sku, key, webhook] = ['STORE', 'SKU', 'LOADTEST_API_KEY', 'WEBHOOK_ID'].map(required);
const api = `${baseUrl}/api/v1/stores/${store}`;
const headers = { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' };
const EVENTS = ['order.created', 'order.fulfilled'];
const WITHIN_S = 15;
const untilDelivered = new Trend('order_until_webhooks_delivered', true);

export const options = of(5, { fulfill: 500 }, profile.latency ? { order_until_webhooks_delivered: ['p(99)<2000'] } : {});

export default function () {
  const body = { customer_email: 'load@example.com', items: [{ sku, quantity: 1 }], external_reference: `k6-${runId}-${__VU}-${__ITER}` };
  const made = http.post(`${api}/licensing/fulfill/`, JSON.stringify(body), { headers, tags: { name: 'fulfill' } });
  nothingWrong('an order is made', made.status === 201 ? [] : [`status ${made.status}: ${made.body}`]);
  if (made.status !== 201) return;
  const began = Date.now();
  let delivered = [];
  while (Date.now() - began < WITHIN_S * 1000) {
    const list = `${api}/webhooks/${webhook}/deliveries/?order_id=${json(made).order_id}`;
    const found = json(http.get(list, { headers, tags: { name: 'deliveries' } }))?.data ?? [];
    delivered = found.filter(({ status }) => status === 'delivered').map(({ event }) => event);
    if (delivered.length === EVENTS.length) break;
    sleep(0.05);
  }
  untilDelivered.add(Date.now() - began);
  const missing = EVENTS.filter((event) => delivered.filter((one) => one === event).length !== 1);
  nothingWrong('every webhook arrives once and is verified', missing.length > 0 ? [`${missing} of ${json(made).order_id}`] : []);
}

export const handleSummary = (data) => reports('webhooks', data);
