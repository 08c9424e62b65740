// Orders as the store's own server makes them, and reads what a run has made once it is over.

import http from 'k6/http';
import { Counter } from 'k6/metrics';
import { json, nothingWrong } from './judge.js';
import { baseUrl, required, runId } from './run.js';

const [store, key] = ['STORE', 'LOADTEST_API_KEY'].map(required);
const api = `${baseUrl}/api/v1/stores/${store}`;
const orders = `${api}/orders/`;
const AT_ONCE = 20;
// Orders that were made and not found at the end, or found and never answered.
const unaccounted = new Counter('orders_unaccounted_for');

/** Orders of this run have references that begin so. */
const reference = `k6-${runId}-`;

const asked = (name) => ({ headers: { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' }, tags: { name } });

/** An order for this many, which no other iteration of this kind has placed. */
export function newOrder(kind, sku, quantity) {
  return { customer_email: 'load@example.com', items: [{ sku, quantity }], external_reference: `${reference}${kind}-${__VU}-${__ITER}` };
}

/** Sends an order, and returns the answer. `again`: it was sent before. */
export function place(order, again = false) {
  const response = http.post(`${api}/licensing/fulfill/`, JSON.stringify(order), asked('fulfill'));
  if (response.status === 201 && !again) unaccounted.add(1);
  return response;
}

/** One order, or null while there is none. */
export function order(id) {
  const answer = http.get(`${orders}${id}/`, asked('order'));
  return answer.status === 200 ? json(answer) : null;
}

/** What has been sent to the store's endpoint about an order, as the deliveries list has it. */
export function deliveries(webhook, id) {
  return json(http.get(`${api}/webhooks/${webhook}/deliveries/?order_id=${id}`, asked('deliveries')))?.data ?? [];
}

/** For `teardown`: reads all orders of the run, and judges that each is there and that no license key was sold twice. */
export function judgeAllOrders() {
  const ids = idsOfThisRun();
  unaccounted.add(-ids.length);
  const [sold, twice] = [new Set(), []];
  for (const license of licenseKeysOf(ids)) {
    if (sold.has(license)) twice.push(license.slice(0, 3));
    sold.add(license);
  }
  console.log(`${ids.length} orders with ${sold.size} license keys`);
  nothingWrong('no license key is sold twice', twice.length > 0 ? [`${twice.length} are: ${twice.slice(0, 5)}`] : []);
  nothingWrong('the run has orders', sold.size > 0 ? [] : ['none was found again']);
}

/** For `thresholds`: every order that was answered with 201 is found at the end, and no other. */
export const everyOrderIsFound = { orders_unaccounted_for: ['count==0'] };

/** The ids of all orders of this run; they are the newest of the store, but for those that customers have placed meanwhile. */
function idsOfThisRun() {
  const ids = [];
  for (let after = '', foreign = 0; foreign < 1000; ) {
    const page = json(http.get(`${orders}?limit=100${after && `&starting_after=${after}`}`, asked('orders')));
    if (!page?.data) throw new Error('the list of orders cannot be read');
    const ours = page.data.filter(({ external_reference }) => external_reference?.startsWith(reference));
    ids.push(...ours.map(({ order_id }) => order_id));
    if (!page.has_more) return ids;
    foreign = ours.length > 0 ? 0 : foreign + page.data.length;
    after = page.data[page.data.length - 1].order_id;
  }
  return ids;
}

/** The license keys of these orders, one after another. */
function* licenseKeysOf(ids) {
  for (let from = 0; from < ids.length; from += AT_ONCE) {
    const answers = http.batch(ids.slice(from, from + AT_ONCE).map((id) => ['GET', `${orders}${id}/`, null, asked('order')]));
    for (const answer of answers) {
      if (answer.status !== 200) throw new Error(`an order of the run cannot be read: ${answer.status}`);
      for (const item of json(answer).items) yield* item.license_keys;
    }
  }
}
