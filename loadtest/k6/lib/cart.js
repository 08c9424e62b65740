// A customer on the hosted pages, without a browser: the same forms, the same cookies.

import http from 'k6/http';
import { address, baseUrl, required } from './run.js';

const store = required('STORE');

/** What stands between two texts of a page; empty where they are not there. */
function between(page, before, after) {
  // An answer that did not come has no body.
  const from = page?.indexOf(before) ?? -1;
  return from < 0 ? '' : page.slice(from + before.length, page.indexOf(after, from + before.length));
}

/** One customer. `n` makes it another than the others. */
export class Customer {
  constructor(n) {
    this.jar = new http.CookieJar();
    this.headers = { ...address(n), 'Accept-Language': 'en-GB' };
  }

  get(path) {
    return http.get(baseUrl + path, { jar: this.jar, headers: this.headers, tags: { name: 'page' } });
  }

  /** Sends a page's form back to the page. */
  submit(page, fields) {
    const body = { ...fields, form_token: between(page.body, 'name="form_token" value="', '"') };
    return http.post(page.url, body, { jar: this.jar, headers: this.headers, tags: { name: 'page' } });
  }

  /** From the link to the page where the order is placed. Returns that page. */
  toCheck(sku, quantity) {
    const cart = this.get(`/s/${store}/cart/?items=${encodeURIComponent(sku)}:${quantity}&currency=GBP`);
    if (cart.status !== 200) return cart;
    const details = http.get(`${cart.url}details/`, { jar: this.jar, headers: this.headers, tags: { name: 'page' } });
    return this.submit(details, { email: 'load@example.com', country: 'GB' });
  }
}

/** What the page where an order is placed says that it costs, in minor units; 0 where it says nothing. */
export const totalOf = (page) => Number(between(page.body, 'name="total_minor" value="', '"'));

/** The order that a payment's address is of. */
export const orderOf = (url) => (/\/payment\/([^/]+)\//.exec(url)?.[1] ?? '').split('.')[3] ?? '';
