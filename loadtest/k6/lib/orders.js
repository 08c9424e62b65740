// Orders as the store's own server reads them: what a run has made, once it is over.

import http from 'k6/http';
import { json } from './judge.js';
import { baseUrl, required } from './run.js';

const [store, key] = ['STORE', 'LOADTEST_API_KEY'].map(required);
const orders = `${baseUrl}/api/v1/stores/${store}/orders/`;
const AT_ONCE = 20;

const asked = (name) => ({ headers: { Authorization: `Bearer ${key}` }, tags: { name } });

/** One order, or null while there is none. */
export function order(id) {
  const answer = http.get(`${orders}${id}/`, asked('order'));
  return answer.status === 200 ? json(answer) : null;
}

/** The ids of all orders whose reference begins like this; they are the newest of the store. */
export function ordersOf(prefix) {
  const ids = [];
  for (let after = ''; ; ) {
    const page = json(http.get(`${orders}?limit=100${after && `&starting_after=${after}`}`, asked('orders')));
    if (!page?.data) throw new Error('the list of orders cannot be read');
    const ours = page.data.filter(({ external_reference }) => external_reference?.startsWith(prefix));
    ids.push(...ours.map(({ order_id }) => order_id));
    if (!page.has_more || ours.length === 0) return ids;
    after = page.data[page.data.length - 1].order_id;
  }
}

/** The license keys of these orders, one after another. */
export function* licenseKeysOf(ids) {
  for (let from = 0; from < ids.length; from += AT_ONCE) {
    const answers = http.batch(ids.slice(from, from + AT_ONCE).map((id) => ['GET', `${orders}${id}/`, null, asked('order')]));
    for (const answer of answers) {
      if (answer.status !== 200) throw new Error(`an order of the run cannot be read: ${answer.status}`);
      for (const item of json(answer).items) yield* item.license_keys;
    }
  }
}
