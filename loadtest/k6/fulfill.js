// Orders: each gets as many license keys as it asked for, the same order sent again gets the same ones, and at the end no license key was sold
// twice, whoever asked for it: all orders of the run are read again.

import { json, nothingWrong } from './lib/judge.js';
import { everyOrderIsFound, judgeAllOrders, newOrder, order, place } from './lib/orders.js';
import { contradictions } from './lib/rates.js';
import { reports } from './lib/report.js';
import { optionsAt, required, scenario } from './lib/run.js';

const sku = required('SKU');

export const options = optionsAt(10, { fulfill: 500 });
Object.assign(options.thresholds, everyOrderIsFound);

export default scenario(() => {
  const quantity = 1 + (__ITER % 3);
  const wanted = newOrder('fulfill', sku, quantity);
  const response = place(wanted);
  const made = json(response);
  const items = made?.items ?? [];
  const keys = items.flatMap((item) => item.license_keys ?? []);
  const wrong = [];
  if (response.status !== 201) wrong.push(`status ${response.status}: ${response.body}`);
  else {
    if (made.status !== 'fulfilled') wrong.push(`an order that is ${made.status}`);
    if (items.length !== 1 || items[0].sku !== sku) wrong.push(`${items.map((item) => item.sku)} where ${sku} was ordered`);
    if (new Set(keys).size !== quantity || keys.length !== quantity) wrong.push(`${keys.length} license keys, ${new Set(keys).size} different, where ${quantity} were ordered`);
  }
  nothingWrong('an order is right', wrong);
  nothingWrong('rate headers add up', contradictions(response, 'licensing'));
  if (response.status !== 201 || __ITER % 5 !== 0) return;

  const again = place(wanted, true);
  const is = again.status === 201 && again.body === response.body && again.headers['Idempotent-Replayed'] === 'true';
  nothingWrong('the same order again is the same order', is ? [] : [`status ${again.status}, replayed ${again.headers['Idempotent-Replayed']}`]);
  const known = order(made.order_id);
  const [item] = known?.items ?? [];
  const same = known?.external_reference === wanted.external_reference && known.status === 'fulfilled'
    && item?.sku === sku && item.quantity === quantity && `${[...item.license_keys].sort()}` === `${[...keys].sort()}`;
  nothingWrong('an order is read as it was made', same ? [] : [`${known?.external_reference} ${known?.status} ${item?.quantity} × ${item?.sku}`]);
});

export const teardown = judgeAllOrders;
export const handleSummary = (data) => reports('fulfill', data);
