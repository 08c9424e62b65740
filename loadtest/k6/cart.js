// The hosted cart: a customer comes by a link, gives an address, and is told price and tax. Every page is right, and nobody sees a page of
// somebody else's.

import { nothingWrong } from './lib/judge.js';
import { Customer, totalOf } from './lib/cart.js';
import { reports } from './lib/report.js';
import { optionsAt, required, scenario } from './lib/run.js';

const sku = required('SKU');
// What the product costs in GBP, in minor units.
const PRICE_MINOR = Number(__ENV.PRICE_MINOR || 2999);

export const options = optionsAt(2, { page: 500 });

export default scenario(() => {
  const quantity = 1 + ((__ITER + __VU) % 9);
  const customer = new Customer(__VU * 100000 + __ITER);
  const page = customer.toCheck(sku, quantity);
  const total = totalOf(page);
  const wrong = [];
  if (page.status !== 200) wrong.push(`status ${page.status} at ${page.url.split('?')[0]}`);
  // Tax is on top or within, as the store says: never less than the price, never more than half above it.
  else if (!(total >= PRICE_MINOR * quantity && total <= PRICE_MINOR * quantity * 1.5)) wrong.push(`${total} for ${quantity} × ${PRICE_MINOR}`);
  if (page.url.includes('token=')) wrong.push('a token stands in the address');
  nothingWrong('a cart is right', wrong);
  if (page.status !== 200) return;
  const stranger = new Customer(__VU * 100000 + __ITER + 50000).get(page.url.replace(/^https?:\/\/[^/]+/, ''));
  nothingWrong('a cart is its own browser\'s', stranger.status >= 400 && stranger.status < 500 ? [] : [`status ${stranger.status}`]);
});

export const handleSummary = (data) => reports('cart', data);
