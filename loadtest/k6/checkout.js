// Checkout sessions: each is 201, has a token of its own and the URL that goes with it, and rate headers that add up.

import http from 'k6/http';
import { json, nothingWrong } from './lib/judge.js';
import { contradictions } from './lib/rates.js';
import { reports } from './lib/report.js';
import { baseUrl, optionsAt, required, scenario } from './lib/run.js';

const [store, sku, key] = ['STORE', 'SKU', 'LOADTEST_API_KEY'].map(required);
const url = `${baseUrl}/api/v1/stores/${store}/checkout/session/`;
const params = { headers: { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' }, tags: { name: 'checkout' } };
const tokens = new Set();

export const options = optionsAt(20, { checkout: 100 });

export default scenario(() => {
  const quantity = 1 + ((__ITER + __VU) % 1000);
  ask(quantity);
  // The same cart again is another session.
  if (__ITER % 10 === 0) ask(quantity);
});

function ask(quantity) {
  const response = http.post(url, JSON.stringify({ cart: { [sku]: quantity }, currency: 'GBP' }), params);
  const body = json(response);
  const wrong = [];
  if (response.status !== 201) wrong.push(`status ${response.status}: ${response.body}`);
  else {
    if (typeof body?.token !== 'string' || tokens.has(body.token)) wrong.push('no token, or one that another session has');
    if (body?.checkout_url !== `${baseUrl}/s/${store}/cart/?token=${body?.token}`) wrong.push('checkout_url does not belong to the token');
    if (!(Date.parse(body?.expires_at) > Date.now())) wrong.push(`expires_at is ${body?.expires_at}`);
    // Of one virtual user's last thousand: memory stays bounded in a soak.
    if (tokens.size >= 1000) tokens.clear();
    tokens.add(body?.token);
  }
  nothingWrong('a session is right', wrong);
  nothingWrong('rate headers add up', contradictions(response, 'checkout'));
}

export const handleSummary = (data) => reports('checkout', data);
