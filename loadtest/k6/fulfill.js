// Orders: each gets as many license keys as it asked for, the same order sent again gets the same ones. That no key is sold
// twice is judged among the orders of each virtual user: they share no memory. Postgres judges the whole (`worker audit`).

import http from 'k6/http';
import { json, nothingWrong } from './lib/judge.js';
import { contradictions } from './lib/rates.js';
import { reports } from './lib/report.js';
import { baseUrl, options as arrivals, required, runId } from './lib/run.js';

const [store, sku, key] = ['STORE', 'SKU', 'LOADTEST_API_KEY'].map(required);
const url = `${baseUrl}/api/v1/stores/${store}/licensing/fulfill/`;
const params = { headers: { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' }, tags: { name: 'fulfill' } };
const sold = new Set();

export const options = arrivals(10, 500);

export default function () {
  const quantity = 1 + (__ITER % 3);
  const order = { customer_email: 'load@example.com', items: [{ sku, quantity }], external_reference: `k6-${runId}-${__VU}-${__ITER}` };
  const response = http.post(url, JSON.stringify(order), params);
  const wrong = [];
  if (response.status !== 201) wrong.push(`status ${response.status}: ${response.body}`);
  else {
    const keys = json(response)?.items?.flatMap((item) => item.license_keys) ?? [];
    if (keys.length !== quantity) wrong.push(`${keys.length} license keys where ${quantity} were ordered`);
    for (const one of keys) {
      if (sold.has(one)) wrong.push('a license key was sold twice');
      sold.add(one);
    }
  }
  nothingWrong('an order is right', wrong);
  nothingWrong('rate headers add up', contradictions(response, 'licensing'));
  if (response.status === 201 && __ITER % 5 === 0) {
    const again = http.post(url, JSON.stringify(order), params);
    const is = again.status === 201 && again.body === response.body && again.headers['Idempotent-Replayed'] === 'true';
    nothingWrong('the same order again is the same order', is ? [] : [`status ${again.status}, replayed ${again.headers['Idempotent-Replayed']}`]);
  }
}

export const handleSummary = (data) => reports('fulfill', data);
