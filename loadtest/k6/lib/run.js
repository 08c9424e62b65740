// What every scenario shares: the environment, the profile, and promises as thresholds. Knows nothing of any endpoint.
// Load comes at a rate of arrival: a slow server does not slow down those who ask it.

import exec from 'k6/execution';
import { Gauge } from 'k6/metrics';
import { judged } from './judge.js';

const profiles = JSON.parse(open('../profiles.json'));

/** A variable that the run cannot do without. */
export function required(name) {
  const value = __ENV[name];
  if (!value) {
    throw new Error(`${name} is not set; start the stack with \`cargo stack up\`, then \`cargo stack load\` sets it, or you do: \`set -a; . target/stack/env; RUN_ID=$(date +%s); set +a\``);
  }
  return value;
}

/** Refuses variables that would change nothing: a run that is not what was asked for is worse than none. */
export function refuse(names, reason) {
  for (const name of names) {
    if (__ENV[name]) throw new Error(`${name} has no effect here: ${reason}`);
  }
}

/** Where the edge is, without a slash at the end. */
export const baseUrl = required('BASE_URL').replace(/\/$/, '');

/** Names this run, for all of its virtual users alike: external references of two runs never meet. */
export const runId = required('RUN_ID');

/** The profile of this run; PROFILE names it. */
export const profile = profileNamed(__ENV.PROFILE || 'smoke');

function profileNamed(name) {
  if (!Object.hasOwn(profiles, name)) {
    throw new Error(`there is no profile ${name}; PROFILE is one of ${Object.keys(profiles).join(', ')}`);
  }
  if (profiles[name].hold === undefined) refuse(['DURATION'], `profile ${name} has its own`);
  return profiles[name];
}

/**
 * An address of a caller's own, as the proxy in front would tell it: limits are counted by address, and all of k6 has one. The edge believes it
 * only where this machine is a proxy that it trusts, as `cargo stack up` says.
 */
export function address(caller) {
  const n = (seed + caller) >>> 0;
  return { 'X-Forwarded-For': `10.${(n >>> 16) & 255}.${(n >>> 8) & 255}.${n & 255}` };
}

// Two runs within a minute are not to share addresses.
const seed = Math.floor(Date.now() / 1000) * 977;

// Of the script that runs: where it takes others in, theirs came first.
let ordinaryPerSecond = 0;
// How many times the ordinary load has been reached, where more and more is asked for until something breaks.
const timesTheOrdinary = profile.abort && new Gauge('times_the_ordinary');

/** Arrivals at this many a second in profile smoke, of `exec`; other profiles are multiples of it. */
export function arrivals(ratePerSecond, exec = 'default') {
  const base = ratePerSecond * (profile.scale || 1);
  const stages = profile.stages.map(([times, duration], index) => ({
    target: Math.max(times > 0 ? 1 : 0, Math.round(times * base)),
    duration: index === profile.hold && __ENV.DURATION ? __ENV.DURATION : duration,
  }));
  return {
    executor: 'ramping-arrival-rate',
    exec,
    startRate: Math.ceil(base),
    timeUnit: '1s',
    stages,
    // Some more than a second needs: making another one takes longer than an arrival can wait.
    preAllocatedVUs: Math.min(200, Math.ceil(base * 3) + 10),
    maxVUs: Number(__ENV.MAX_VUS || 2000),
  };
}

/** The function of a scenario whose load follows the profile. */
export function scenario(iteration) {
  const one = judged(iteration);
  return () => {
    // From the ordinary to the last stage's multiple of it, evenly.
    timesTheOrdinary && timesTheOrdinary.add(1 + (profile.stages[0][0] - 1) * exec.scenario.progress);
    one();
  };
}

/** What a run reached that asked for more and more, from its metrics; empty for other profiles. */
export function reached(metrics) {
  const times = metrics.times_the_ordinary?.values.max;
  return times ? `${times.toFixed(1)} times the ordinary was reached, ${Math.round(times * ordinaryPerSecond)} iterations a second` : '';
}

/** Orders of a long run are many, and all are read again at its end. */
const TEARDOWN_TIMEOUT = '1h';

/**
 * Options of a run. Its promises: in every scenario something is asked and every check holds, nothing is dropped, and where the profile judges
 * latency, `p99Ms` by name of request, and `trendsMs` by name of metric, are not exceeded.
 */
export function options(scenarios, p99Ms, trendsMs = {}) {
  ordinaryPerSecond = Object.values(scenarios).reduce((sum, { startRate }) => sum + startRate, 0);
  const bound = (threshold) => [profile.abort ? { threshold, abortOnFail: true, delayAbortEval: '10s' } : threshold];
  const thresholds = { checks: bound('rate==1'), dropped_iterations: bound('count==0') };
  for (const name of Object.keys(scenarios)) {
    thresholds[`iterations{scenario:${name}}`] = ['count>0'];
    thresholds[`checks{scenario:${name}}`] = ['rate==1'];
  }
  if (profile.latency) {
    for (const [name, ms] of Object.entries(p99Ms)) thresholds[`http_req_duration{name:${name}}`] = bound(`p(99)<${ms}`);
    for (const [name, ms] of Object.entries(trendsMs)) thresholds[name] = bound(`p(99)<${ms}`);
  }
  return { scenarios, thresholds, summaryTrendStats: ['min', 'med', 'p(95)', 'p(99)', 'max'], teardownTimeout: TEARDOWN_TIMEOUT };
}

/** Options of a script with one kind of arrivals. RATE takes the rate's place. */
export function optionsAt(ratePerSecond, p99Ms, trendsMs) {
  const asked = Number(__ENV.RATE || ratePerSecond * (profile.scale || 1));
  if (!(asked > 0)) throw new Error('RATE is arrivals a second, above 0');
  return options({ arrivals: arrivals(asked / (profile.scale || 1)) }, p99Ms, trendsMs);
}
