// Rate limits: one caller empties a bucket and goes on asking; every answer agrees with a model of the bucket. First a bucket of an address
// that nobody has used, which is full and stays nobody else's; then that of API_KEY, which ordinary limits hold for. Other buckets of the
// same caller stay full meanwhile.

import http from 'k6/http';
import { sleep } from 'k6';
import { judged, nothingWrong } from './lib/judge.js';
import { Bucket, contradictions, read } from './lib/rates.js';
import { reports } from './lib/report.js';
import { address, baseUrl, options as of, profile, refuse, required } from './lib/run.js';

const [store, sku, key] = ['STORE', 'SKU', 'API_KEY'].map(required);
refuse(['RATE', 'DURATION'], 'one caller asks, one request after the other');
if (profile.latency || profile.scale) throw new Error('limits has one caller in every profile: leave the profile out');

// As published, a minute; LIMIT_… where an installation has others.
const published = (name, perMinute) => Number(__ENV[`LIMIT_${name}`] || perMinute);
const [TAX, GEO, CHECKOUT] = [published('TAX', 300), published('GEO', 300), published('CHECKOUT', 100)];

// One caller, one after the other: only so is it known what the bucket must hold.
export const options = of({ alone: { executor: 'shared-iterations', vus: 1, iterations: 1, maxDuration: '3m' } }, {});

const expected = http.expectedStatuses(200, 201, 429);
const caller = address(0);
const ask = (url, quota) => () => http.get(`${baseUrl}${url}`, { headers: caller, tags: { name: quota }, responseCallback: expected });
const tax = ask('/api/v1/tax/rates/?country=GB', 'tax');
const geo = ask('/api/v1/geo/subdivisions/?country=US', 'geo');
const session = JSON.stringify({ cart: { [sku]: 1 }, currency: 'GBP' });
const headers = { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' };
const checkout = () =>
  http.post(`${baseUrl}/api/v1/stores/${store}/checkout/session/`, session, { headers, tags: { name: 'checkout' }, responseCallback: expected });

export default judged(() => {
  empty('tax', tax, new Bucket(TAX, true));
  const { limit, remaining } = read(geo());
  nothingWrong('another bucket is full', limit === GEO && remaining === GEO - 1 ? [] : [`${remaining} of ${limit} remain of ${GEO}`]);
  empty('checkout', checkout, new Bucket(CHECKOUT, false));
});

/** Asks until it is refused, and on; then waits as it is told to. */
function empty(quota, request, bucket) {
  const judgedRequest = () => {
    const sentMs = Date.now();
    const response = request();
    const answeredMs = Date.now() + 1;
    nothingWrong('admitted or 429', [200, 201, 429].includes(response.status) ? [] : [`status ${response.status}: ${response.body}`]);
    nothingWrong('rate headers add up', contradictions(response, quota));
    nothingWrong('the bucket is as the model', bucket.answer(sentMs, answeredMs, response));
    return response;
  };
  let [asked, last] = [0, null];
  do {
    last = judgedRequest();
    asked += 1;
  } while (last.status !== 429 && asked < 3 * bucket.limit);
  nothingWrong('the bucket ends', last.status === 429 ? [] : [`${asked} requests, and none was refused`]);
  for (let n = 0; n < 40; n += 1) {
    sleep(0.05);
    last = judgedRequest();
  }
  while (last.status !== 429 && asked < 4 * bucket.limit) {
    last = judgedRequest();
    asked += 1;
  }
  sleep(read(last).retryAfterS || 1);
  const admitted = judgedRequest();
  nothingWrong('whoever waits as told is admitted', admitted.status < 300 ? [] : [`status ${admitted.status}`]);
}

export const handleSummary = (data) => reports('limits', data);
