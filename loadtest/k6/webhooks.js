// Webhooks, the whole way: an order is made, and the store's server has both of its events. STORE_SERVER_URL is that server, which tells what
// has arrived and whether its signatures were right; `cargo stack up` has one. Without it the deliveries list must do: a server that answers
// 2xx only to right signatures makes "delivered" there mean the same.

import http from 'k6/http';
import { sleep } from 'k6';
import { Trend } from 'k6/metrics';
import { json, nothingWrong } from './lib/judge.js';
import { deliveries, everyOrderIsFound, judgeAllOrders, newOrder, place } from './lib/orders.js';
import { reports } from './lib/report.js';
import { optionsAt, required, scenario } from './lib/run.js';

const sku = required('SKU');
const server = __ENV.STORE_SERVER_URL;
const webhook = server ? null : required('WEBHOOK_ID');
const EVENTS = ['order.created', 'order.fulfilled'];
const WITHIN_S = 15;
const untilDelivered = new Trend('order_until_webhooks_delivered', true);

export const options = optionsAt(5, { fulfill: 500 }, { order_until_webhooks_delivered: 2000 });
Object.assign(options.thresholds, everyOrderIsFound);

export default scenario(() => {
  const made = place(newOrder('webhooks', sku, 1));
  nothingWrong('an order is made', made.status === 201 ? [] : [`status ${made.status}: ${made.body}`]);
  if (made.status !== 201) return;
  const id = json(made).order_id;
  const began = Date.now();
  let arrived = [];
  while (Date.now() - began < WITHIN_S * 1000) {
    arrived = arrivals(id);
    if (EVENTS.every((event) => arrived.some((one) => one.event === event))) break;
    sleep(0.05);
  }
  untilDelivered.add(Date.now() - began);
  const wrong = arrived.filter(({ verified }) => !verified).map(({ event }) => `${event} has a wrong signature`);
  for (const event of EVENTS) {
    // One event has one id, however often it is sent.
    const ids = new Set(arrived.filter((one) => one.event === event).map((one) => one.id));
    if (ids.size !== 1) wrong.push(`${event} arrived ${ids.size} times`);
  }
  if (arrived.some(({ event }) => !EVENTS.includes(event))) wrong.push(`others came: ${arrived.map(({ event }) => event)}`);
  nothingWrong('every webhook arrives once and is verified', wrong.map((what) => `${what}, of ${id}`));
});

/** What has arrived for an order: its events' names and ids, and whether they were signed as they should be. */
function arrivals(id) {
  if (server) return json(http.get(`${server}/received?order_id=${id}`, { tags: { name: 'store_server' } })) ?? [];
  return deliveries(webhook, id).filter(({ status }) => status === 'delivered').map(({ event, event_id }) => ({ event, id: event_id, verified: true }));
}

export const teardown = judgeAllOrders;
export const handleSummary = (data) => reports('webhooks', data);
