// Checks that say what was wrong: a failed check alone is a count, and nobody can mend a count.

import { check } from 'k6';

const LINES_MAX = 20;
let said = 0;

/** Checks that nothing is wrong. The first failures of each virtual user are printed with their reasons. */
export function nothingWrong(name, wrong) {
  if (wrong.length > 0 && said < LINES_MAX) {
    said += 1;
    console.error(`${name}: ${wrong.join('; ')}`);
  }
  return check(wrong, { [name]: (list) => list.length === 0 });
}

/** The body as JSON; null where it is none. */
export function json(response) {
  try {
    return JSON.parse(response.body);
  } catch {
    return null;
  }
}
