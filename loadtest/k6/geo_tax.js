// Subdivisions and tax rates, as browsers ask for them: right, the same to whoever has them already, and counted by address.

import http from 'k6/http';
import { json, nothingWrong } from './lib/judge.js';
import { contradictions } from './lib/rates.js';
import { reports } from './lib/report.js';
import { address, baseUrl, optionsAt, scenario } from './lib/run.js';

// Country, how many subdivisions it has at least, and whether it has tax rates.
const COUNTRIES = [['US', 50], ['CA', 13], ['DE', 16], ['AU', 6], ['GB', 0], ['FR', 0], ['CH', 26]];

export const options = optionsAt(10, { subdivisions: 50, tax_rates: 50 });

export default scenario(() => {
  const [country, least] = COUNTRIES[(__ITER + __VU) % COUNTRIES.length];
  // A customer with a browser of its own asks for a handful.
  const headers = address(__VU * 100000 + Math.floor(__ITER / 5));
  const subdivisions = http.get(`${baseUrl}/api/v1/geo/subdivisions/?country=${country}`, { headers, tags: { name: 'subdivisions' } });
  const listed = json(subdivisions)?.subdivisions ?? [];
  const wrong = [];
  if (subdivisions.status !== 200) wrong.push(`status ${subdivisions.status}: ${subdivisions.body}`);
  else if (listed.length < least) wrong.push(`${country} has ${listed.length} subdivisions`);
  else if (listed.some(({ code, name }) => !code || !name)) wrong.push(`${country} has one without code or name`);
  nothingWrong('subdivisions are right', wrong);
  nothingWrong('rate headers add up', contradictions(subdivisions, 'geo'));

  const rates = http.get(`${baseUrl}/api/v1/tax/rates/?country=${country}`, { headers, tags: { name: 'tax_rates' } });
  nothingWrong('tax rates are right', rates.status === 200 && json(rates)?.rates?.length > 0 ? [] : [`status ${rates.status}: ${rates.body}`]);
  nothingWrong('rate headers add up', contradictions(rates, 'tax'));
  const kept = { headers: { ...headers, 'If-None-Match': rates.headers.Etag }, tags: { name: 'tax_rates' } };
  const again = http.get(`${baseUrl}/api/v1/tax/rates/?country=${country}`, kept);
  nothingWrong('whoever has them already is told so', again.status === 304 && !again.body ? [] : [`status ${again.status}`]);
});

export const handleSummary = (data) => reports('geo_tax', data);
