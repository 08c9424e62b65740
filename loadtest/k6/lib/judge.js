// Checks that say what was wrong: a failed check alone is a count, and nobody can mend a count.

import { check } from 'k6';

const LINES_MAX = 5;
const said = {};

/** Checks that nothing is wrong. The first few failures of each kind and virtual user are printed with their reasons. */
export function nothingWrong(name, wrong) {
  if (wrong.length > 0 && (said[name] ?? 0) < LINES_MAX) {
    said[name] = (said[name] ?? 0) + 1;
    console.error(`${name}: ${wrong.join('; ')}`);
  }
  return check(wrong, { [name]: (list) => list.length === 0 });
}

/** The function of a scenario. What it throws is a failed check: k6 alone would print it and count nothing. */
export function judged(iteration) {
  return () => {
    try {
      iteration();
    } catch (error) {
      nothingWrong('the script can go on', [error?.stack ?? String(error)]);
    }
  };
}

/** The body as JSON; null where it is none. */
export function json(response) {
  try {
    return JSON.parse(response.body);
  } catch {
    return null;
  }
}
