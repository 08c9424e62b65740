// Rate limits: one caller empties a bucket of its own and goes on asking; every answer agrees with a model of the bucket.
// The caller has an address of its own, and so a bucket that is full and nobody else's.

import http from 'k6/http';
import { sleep } from 'k6';
import { nothingWrong } from './lib/judge.js';
import { Bucket, contradictions, read } from './lib/rates.js';
import { reports } from './lib/report.js';
import { address, baseUrl } from './lib/run.js';

const url = `${baseUrl}/api/v1/tax/rates/?country=GB`;

// One caller, one after the other: only so is it known what the bucket must hold. No profile makes more of it.
export const options = {
  scenarios: { alone: { executor: 'shared-iterations', vus: 1, iterations: 1, maxDuration: '3m' } },
  thresholds: { checks: ['rate==1'] },
};

export default function () {
  const headers = address(0);
  let bucket = null;
  let [asked, refused] = [0, 0];
  const ask = () => {
    const sentMs = Date.now();
    const response = http.get(url, { headers, tags: { name: 'tax' }, responseCallback: http.expectedStatuses(200, 429) });
    const answeredMs = Date.now() + 1;
    bucket ??= new Bucket(read(response).limit);
    asked += 1;
    refused += response.status === 429 ? 1 : 0;
    nothingWrong('200 or 429', [200, 429].includes(response.status) ? [] : [`status ${response.status}`]);
    nothingWrong('rate headers add up', contradictions(response, 'tax'));
    nothingWrong('the bucket is as the model', bucket.answer(sentMs, answeredMs, response));
    return response;
  };
  while (ask().status !== 429 && asked < 2000);
  nothingWrong('the bucket ends', refused > 0 ? [] : [`${asked} requests, and none was refused`]);
  for (let n = 0; n < 40; n += 1) {
    sleep(0.05);
    ask();
  }
}

export const handleSummary = (data) => reports('limits', data);
