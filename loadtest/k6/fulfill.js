// Orders: each gets as many license keys as it asked for, the same order sent again gets the same ones, and at the end no license key was sold
// twice, whoever asked for it: all orders of the run are read again.

import http from 'k6/http';
import { json, nothingWrong } from './lib/judge.js';
import { licenseKeysOf, ordersOf } from './lib/orders.js';
import { contradictions } from './lib/rates.js';
import { reports } from './lib/report.js';
import { baseUrl, options as of, required, runId } from './lib/run.js';

const [store, sku, key] = ['STORE', 'SKU', 'LOADTEST_API_KEY'].map(required);
const url = `${baseUrl}/api/v1/stores/${store}/licensing/fulfill/`;
const params = { headers: { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' }, tags: { name: 'fulfill' } };

export const options = of(10, { fulfill: 500 });

export default function () {
  const quantity = 1 + (__ITER % 3);
  const order = { customer_email: 'load@example.com', items: [{ sku, quantity }], external_reference: `k6-${runId}-${__VU}-${__ITER}` };
  const response = http.post(url, JSON.stringify(order), params);
  const wrong = [];
  if (response.status !== 201) wrong.push(`status ${response.status}: ${response.body}`);
  else {
    const keys = json(response)?.items?.flatMap((item) => item.license_keys) ?? [];
    if (keys.length !== quantity) wrong.push(`${keys.length} license keys where ${quantity} were ordered`);
  }
  nothingWrong('an order is right', wrong);
  nothingWrong('rate headers add up', contradictions(response, 'licensing'));
  if (response.status === 201 && __ITER % 5 === 0) {
    const again = http.post(url, JSON.stringify(order), params);
    const is = again.status === 201 && again.body === response.body && again.headers['Idempotent-Replayed'] === 'true';
    nothingWrong('the same order again is the same order', is ? [] : [`status ${again.status}, replayed ${again.headers['Idempotent-Replayed']}`]);
  }
}

export function teardown() {
  const orders = ordersOf(`k6-${runId}-`);
  const [sold, twice] = [new Set(), []];
  for (const license of licenseKeysOf(orders)) {
    if (sold.has(license)) twice.push(license.slice(0, 3));
    sold.add(license);
  }
  console.log(`${orders.length} orders with ${sold.size} license keys`);
  nothingWrong('no license key is sold twice', twice.length > 0 ? [`${twice.length} are: ${twice.slice(0, 5)}`] : []);
  nothingWrong('the run has orders', sold.size > 0 ? [] : ['none was found again']);
}

export const handleSummary = (data) => reports('fulfill', data);
