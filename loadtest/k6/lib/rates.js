// The rate headers of an answer against themselves and, where one caller is alone with its bucket, against a model of the bucket.

const WINDOW_S = 60;

/** The figures of an answer; NaN where one is missing or no number. */
export function read(response) {
  const header = (name) => Number(response.headers[name] ?? NaN);
  return {
    limit: header('X-Ratelimit-Limit'),
    remaining: header('X-Ratelimit-Remaining'),
    resetUnixS: header('X-Ratelimit-Reset'),
    retryAfterS: header('Retry-After'),
    policy: response.headers['Ratelimit-Policy'] ?? '',
    short: response.headers['Ratelimit'] ?? '',
  };
}

/** What is wrong with the headers of one answer, by themselves; an empty list when nothing is. */
export function contradictions(response, quota) {
  const { limit, remaining, resetUnixS, retryAfterS, policy, short } = read(response);
  const wrong = [];
  const must = (holds, what) => holds || wrong.push(what);
  const short_ = /^"([a-z]+)";r=(\d+);t=(\d+)$/.exec(short);
  must(limit > 0, 'X-RateLimit-Limit is missing');
  must(remaining >= 0 && remaining <= limit, `${remaining} of ${limit} remain`);
  must(policy === `"${quota}";q=${limit};w=${WINDOW_S}`, `RateLimit-Policy is ${policy}`);
  must(short_ && short_[1] === quota && Number(short_[2]) === remaining, `RateLimit is ${short}, with ${remaining} remaining`);
  if (short_) {
    // What is missing comes back evenly: whole tokens, and up to one more that is on its way.
    const missing = limit - remaining;
    const least = Math.ceil(((missing - 1) * WINDOW_S) / limit);
    const most = Math.ceil((missing * WINDOW_S) / limit);
    const after = Number(short_[3]);
    must(after >= Math.max(0, least) && after <= most, `full again in ${after} s, where ${missing} of ${limit} are missing`);
    // The server's clock is ours in a load test on one machine; CLOCK_SKEW_S allows for more.
    // The token was taken at some moment of the request, which may have waited for a worker.
    const skew = Number(__ENV.CLOCK_SKEW_S || 2) + 1;
    const late = Date.now() / 1000 + after - resetUnixS;
    must(late >= -skew && late <= skew + response.timings.duration / 1000, `X-RateLimit-Reset is ${resetUnixS}, and RateLimit says in ${after} s`);
  }
  if (response.status === 429) {
    must(Number.isInteger(retryAfterS) && retryAfterS >= 1, `Retry-After is ${retryAfterS} on 429`);
    must(remaining === 0, `429 with ${remaining} remaining`);
  } else {
    must(Number.isNaN(retryAfterS) || response.status === 503, `Retry-After on ${response.status}`);
  }
  return wrong;
}

/** A bucket that one caller has for itself. Times are milliseconds; when exactly the server took the token is known only to lie between. */
export class Bucket {
  /** `isFull` where nobody has asked before; otherwise the first answer says what there is. */
  constructor(limit, isFull) {
    this.limit = limit;
    this.perMs = limit / (WINDOW_S * 1000);
    this.least = isFull ? limit : 0;
    this.most = limit;
    this.at = null;
    this.isKnown = isFull;
  }

  /** Takes an answer to what was sent and answered at these moments; what contradicts it, or an empty list. */
  answer(sentMs, answeredMs, response) {
    const { limit, remaining, retryAfterS } = read(response);
    if (this.at !== null) {
      const least = Math.max(0, sentMs - this.at.answered) * this.perMs;
      const most = Math.max(0, answeredMs - this.at.sent) * this.perMs;
      this.least = Math.min(this.limit, this.least + least);
      this.most = Math.min(this.limit, this.most + most);
    }
    this.at = { sent: sentMs, answered: answeredMs };
    const wrong = limit === this.limit ? [] : [`the limit is ${limit} instead of ${this.limit}`];
    if (!this.isKnown) {
      this.isKnown = true;
      [this.least, this.most] = [remaining, remaining + 1];
      return wrong;
    }
    if (response.status === 429) {
      const longest = Math.max(1, Math.ceil((1 - this.least) / this.perMs / 1000));
      if (!(retryAfterS <= longest)) wrong.push(`Retry-After is ${retryAfterS}, where a token comes back within ${longest} s`);
      if (this.least >= 1) wrong.push(`refused with at least ${this.least.toFixed(2)} tokens left`);
      this.most = Math.min(this.most, 1);
      return wrong;
    }
    if (this.most < 1) wrong.push(`admitted with at most ${this.most.toFixed(2)} tokens left`);
    this.least = Math.max(0, this.least - 1);
    this.most = Math.max(0, this.most - 1);
    if (remaining < Math.floor(this.least) || remaining > Math.floor(this.most)) {
      wrong.push(`says ${remaining} remain, where there are ${this.least.toFixed(2)} to ${this.most.toFixed(2)}`);
    }
    return wrong;
  }
}
