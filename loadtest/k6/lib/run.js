// What every scenario shares: the environment, the profile, and promises as thresholds. Knows nothing of any endpoint.
// Load comes at a rate of arrival: a slow server does not slow down those who ask it.

const profiles = JSON.parse(open('../profiles.json'));

/** A variable that the run cannot do without. */
export function required(name) {
  const value = __ENV[name];
  if (!value) {
    throw new Error(`${name} is not set; start the stack with \`cargo stack up\`, then \`cargo stack load\` sets it, or you do: \`set -a; . target/stack/env; RUN_ID=$(date +%s); set +a\``);
  }
  return value;
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

/** The promises of a run: every check holds, nothing is dropped, and where the profile judges latency, these p99 in ms by name of request. */
export function promises(p99Ms, more = {}) {
  const bound = (threshold) => (profile.abort ? { threshold, abortOnFail: true, delayAbortEval: '10s' } : threshold);
  const thresholds = { checks: [bound('rate==1')], dropped_iterations: [bound('count==0')], ...more };
  if (profile.latency) {
    for (const [name, ms] of Object.entries(p99Ms)) thresholds[`http_req_duration{name:${name}}`] = [bound(`p(99)<${ms}`)];
  }
  return thresholds;
}

/** Options of a scenario with one kind of arrivals. RATE takes the rate's place. */
export function options(ratePerSecond, p99Ms, more = {}) {
  const asked = Number(__ENV.RATE || ratePerSecond * (profile.scale || 1));
  if (!(asked > 0)) {
    throw new Error('RATE is arrivals a second, above 0');
  }
  return {
    scenarios: { arrivals: arrivals(asked / (profile.scale || 1)) },
    thresholds: promises(p99Ms, more),
    summaryTrendStats: ['min', 'med', 'p(95)', 'p(99)', 'max'],
    teardownTimeout: '10m',
  };
}
