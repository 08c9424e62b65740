// Everything at once, in the proportions of an ordinary day: mostly sessions, some look-ups, some orders, a few customers on our pages, and
// their payments and webhooks.

import cartStep from './cart.js';
import checkoutStep from './checkout.js';
import fulfillStep from './fulfill.js';
import geoTaxStep from './geo_tax.js';
import stripeStep from './stripe.js';
import webhooksStep from './webhooks.js';
import { everyOrderIsFound, judgeAllOrders } from './lib/orders.js';
import { reports } from './lib/report.js';
import { arrivals, options as of, refuse } from './lib/run.js';

refuse(['RATE'], 'the scenarios of mixed have rates of their own; profiles make more of all');

export const options = of(
  {
    checkout: arrivals(10, 'checkout'),
    geo_tax: arrivals(3, 'geoTax'),
    fulfill: arrivals(3, 'fulfill'),
    webhooks: arrivals(1, 'webhooks'),
    cart: arrivals(0.5, 'cart'),
    stripe: arrivals(0.5, 'stripe'),
  },
  { checkout: 200, subdivisions: 200, tax_rates: 200, fulfill: 1000, page: 1000, stripe_event: 200 },
  { order_until_webhooks_delivered: 3000, payment_until_license_keys: 3000 },
);
Object.assign(options.thresholds, everyOrderIsFound);

export const checkout = checkoutStep;
export const geoTax = geoTaxStep;
export const fulfill = fulfillStep;
export const webhooks = webhooksStep;
export const cart = cartStep;
export const stripe = stripeStep;

export const teardown = judgeAllOrders;
export const handleSummary = (data) => reports('mixed', data);
