// What every scenario shares: the environment, the profile, and promises as thresholds. Knows nothing of any endpoint.
// Load comes at a rate of arrival: a slow server does not slow down those who ask it.

const profiles = JSON.parse(open('../profiles.json'));

/** A variable that the run cannot do without. */
export function required(name) {
  const value = __ENV[name];
  if (!value) {
    throw new Error(`${name} is not set; start the stack with \`cargo stack up\`, then \`set -a; . target/stack/env; set +a\``);
  }
  return value;
}

/** Where the edge is, without a slash at the end. */
export const baseUrl = required('BASE_URL').replace(/\/$/, '');

/** Names this run: external references of two runs never meet. */
export const runId = __ENV.RUN_ID || `${Date.now().toString(36)}`;

/** The profile of this run; PROFILE names it. */
export const profile = profileNamed(__ENV.PROFILE || 'smoke');

function profileNamed(name) {
  if (!Object.hasOwn(profiles, name)) {
    throw new Error(`there is no profile ${name}; PROFILE is one of ${Object.keys(profiles).join(', ')}`);
  }
  return profiles[name];
}

/**
 * Options for arrivals at this many a second in profile smoke; the others are multiples of it. RATE takes its place.
 * Every check must hold and nothing may be dropped; in profiles that judge latency the p99 has a bound too.
 */
export function options(ratePerSecond, p99Ms, promises = {}) {
  const base = Number(__ENV.RATE || ratePerSecond * (profile.scale || 1));
  if (!(base > 0)) {
    throw new Error('RATE is arrivals a second, above 0');
  }
  const stages = profile.stages.map(([times, duration], index) => ({
    target: Math.round(times * base),
    duration: index === profile.hold && __ENV.DURATION ? __ENV.DURATION : duration,
  }));
  const bound = (threshold) => (profile.abort ? { threshold, abortOnFail: true, delayAbortEval: '10s' } : threshold);
  const thresholds = { checks: [bound('rate==1')], dropped_iterations: [bound('count==0')], ...promises };
  if (profile.latency) {
    thresholds.http_req_duration = [bound(`p(99)<${p99Ms}`)];
  }
  return {
    scenarios: {
      arrivals: {
        executor: 'ramping-arrival-rate',
        startRate: Math.ceil(base),
        timeUnit: '1s',
        stages,
        preAllocatedVUs: Math.min(50, Math.ceil(base)),
        maxVUs: Number(__ENV.MAX_VUS || 2000),
      },
    },
    thresholds,
    summaryTrendStats: ['min', 'med', 'p(95)', 'p(99)', 'max'],
  };
}
