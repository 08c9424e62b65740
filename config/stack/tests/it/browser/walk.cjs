// Walks the hosted pages in headless Chromium. Arguments: the edge's address, a checkout path, a receipt's path, the address
// of a payment with Stripe's form, a folder for screenshots.
"use strict";
const common = require("./page.cjs");
const { DESK, PHONE, must, tabTo, press, open } = common;

const [base, checkout, receipt, stripe, shots] = process.argv.slice(2);

async function examine(page, name) {
  await common.examine(page, shots, name);
  must(!/token=/.test(page.url()) || /gone$/.test(name), `${name}: a token in ${page.url()}`);
}

// Link, cart, details, tax: by keyboard alone.
async function walk(browser, device, options) {
  const { context, page, problems } = await open(browser, options);
  await page.goto(base + "/s/demo/cart/?items=WIN-11-PRO:1,OFFICE-2024:2&currency=GBP");
  await examine(page, `${device}-cart`);
  await tabTo(page, "input[name='quantity.OFFICE-2024']");
  await page.keyboard.press("Control+a");
  await page.keyboard.type("4");
  await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
  must((await page.inputValue("input[name='quantity.OFFICE-2024']")) === "4", "the quantity is 4");
  await press(page, "button[name='remove'][value='WIN-11-PRO']");
  must(!(await page.content()).includes("WIN-11-PRO"), "the line is gone");
  await press(page, ".button.wide");

  // Wrong first: each message belongs to its field.
  await tabTo(page, "#email");
  await page.keyboard.type("nobody");
  await press(page, "button.wide");
  await examine(page, `${device}-details-wrong`);
  for (const field of ["email", "country"]) {
    const ids = await page.getAttribute(`#${field}`, "aria-describedby");
    must(ids.split(" ").includes(`${field}-wrong`), `${field} names what is wrong`);
  }
  await page.focus("#email");
  await page.keyboard.press("Control+a");
  await page.keyboard.type("customer@example.com");
  await tabTo(page, "#country");
  await page.keyboard.type("United States");
  await page.waitForSelector("#subdivision option[value='CA']", { state: "attached" });
  must(await page.isVisible("#subdivision"), "the states are shown");
  await tabTo(page, "#subdivision");
  await page.keyboard.type("California");
  await examine(page, `${device}-details`);
  await press(page, "button.wide");
  must(/\/pay\/$/.test(page.url()), page.url());
  must((await page.content()).includes("California") && (await page.textContent(".pay-total")).length > 3, "the total with its tax");
  await examine(page, `${device}-pay`);
  await press(page, "button.wide");
  must(/\/payment\//.test(page.url()), page.url());
  await examine(page, `${device}-payment`);
  const payment = page.url();
  await press(page, "button.wide");
  must(/\/receipt\//.test(page.url()), page.url());
  // The page looks again by itself until the license keys are there.
  await page.waitForSelector(".key");
  must((await page.locator(".key").count()) === 4, "four license keys");
  await examine(page, `${device}-bought`);
  // Paid is paid: back to the payment, by the browser's memory or by its address, is the receipt.
  await page.goto(payment);
  must(/\/receipt\//.test(page.url()), page.url());
  must(problems.length === 0, `${device}: ${problems.join("; ")}`);
  await context.close();
}

// Stripe's form, as far as it is ours: loaded from Stripe and nowhere else, mounted with the customer's own secret, sent back to the receipt.
// What stands in for Stripe's script writes down what it was told.
const STRIPE = `window.Stripe = (key, { locale }) => ({
  elements: ({ clientSecret }) => ({ create: () => ({
    handlers: {},
    on(name, handler) { this.handlers[name] = handler; },
    mount(where) {
      document.querySelector(where).innerHTML = "<label for=card>Card number</label><input id=card>";
      window.told = { key, locale, clientSecret };
      setTimeout(() => this.handlers.ready(), 10);
    },
  }) }),
  confirmPayment: async ({ confirmParams }) => { window.told.returnUrl = confirmParams.return_url; return { error: { message: "Your card was declined." } }; },
});`;

async function withStripe(browser, device, options) {
  for (const isThere of [true, false]) {
    const { context, page, problems } = await open(browser, options);
    await page.route("https://js.stripe.com/**", (route) => (isThere ? route.fulfill({ contentType: "text/javascript", body: STRIPE }) : route.abort()));
    await page.goto(stripe);
    if (!isThere) {
      await page.waitForSelector("#payment-problem:not([hidden])");
      must(await page.isDisabled("#payment-button"), "nothing can be paid without the form");
      await examine(page, `${device}-stripe-away`);
    } else {
      await page.waitForSelector("#payment-button:not([disabled])");
      await tabTo(page, "#card");
      await tabTo(page, "#payment-button");
      await page.keyboard.press("Enter");
      await page.waitForSelector("#payment-problem:not([hidden])");
      const told = await page.evaluate(() => window.told);
      must(told.key === "pk_test_walk" && told.locale === "en" && told.clientSecret.startsWith("pi_") && told.returnUrl.includes("/receipt/"), JSON.stringify(told));
      must((await page.textContent("#payment-problem")).includes("declined"), "what Stripe says is shown");
      must(!(await page.isDisabled("#payment-button")), "and the customer may try again");
      await examine(page, `${device}-stripe`);
      must(problems.length === 0, `${device}: ${problems.join("; ")}`);
    }
    await context.close();
  }
}

// A shop's session, an expired link, and the marketplace.
async function others(browser, device, options) {
  const { context, page, problems } = await open(browser, options);
  await page.goto(base + checkout);
  await examine(page, `${device}-session`);
  await page.goto(base + "/s/demo/cart/?token=cs1.broken");
  await examine(page, `${device}-gone`);
  await page.goto(base + "/s/demo/cart/?add=NONE&currency=GBP");
  await examine(page, `${device}-bad-link`);
  await page.goto(base + receipt);
  must((await page.locator(".key").count()) === 3, "three license keys");
  await examine(page, `${device}-receipt`);
  await page.goto(base + "/market/");
  await examine(page, `${device}-market`);
  await tabTo(page, "#search");
  await page.keyboard.type("game");
  await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
  must((await page.locator(".shelf li").count()) === 1, "one game");
  await press(page, ".shelf button");
  await page.goto(base + "/market/?q=office");
  await press(page, ".shelf button");
  must((await page.locator("section.part").count()) === 2, "two shops");
  await examine(page, `${device}-market-cart`);
  must(problems.length === 0, `${device}: ${problems.join("; ")}`);
  await context.close();
}

// Without scripts: the country first, then its state.
async function withoutScripts(browser) {
  const { context, page } = await open(browser, { javaScriptEnabled: false, locale: "de-DE" });
  await page.goto(base + "/s/demo/cart/?add=OFFICE-2024&currency=USD");
  await page.click(".button.wide");
  await page.fill("#email", "kunde@example.com");
  await page.selectOption("#country", "US");
  await page.click("button.wide");
  await page.selectOption("#subdivision", "CA");
  await page.click("button.wide");
  must(/\/pay\/$/.test(page.url()), page.url());
  await page.click("button.wide");
  await page.click("button.wide");
  for (let n = 0; n < 20 && !(await page.locator(".key").count()); n++) await page.reload();
  must((await page.locator(".key").count()) === 1, "a license key without scripts");
  await context.close();
}

// Two tabs with two carts, a double click, and a page from the browser's memory.
async function tabs(browser) {
  const { context, page } = await open(browser, {});
  await page.goto(base + "/s/demo/cart/?add=OFFICE-2024&currency=GBP");
  const second = await context.newPage();
  await second.goto(base + "/s/demo/cart/?add=WIN-11-PRO&currency=USD");
  must(page.url() !== second.url(), "two carts");
  await page.reload();
  must((await page.content()).includes("OFFICE-2024") && (await second.content()).includes("WIN-11-PRO"), "each its own");
  await context.close();
}

common.walk(async (browser) => {
  const french = { viewport: { width: 390, height: 844 }, locale: "fr-FR" };
  for (const [device, options] of [["desk", { ...DESK, locale: "en-GB" }], ["phone", { ...PHONE, locale: "en-GB" }]]) {
    await walk(browser, device, options);
    await others(browser, device, options);
    await withStripe(browser, device, options);
  }
  await others(browser, "french", french);
  await withoutScripts(browser);
  await tabs(browser);
});
