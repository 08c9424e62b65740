// Walks the portal in headless Chromium, by keyboard alone: password, sign-in, store, key, a request with that key, webhook. Arguments: the
// edge's address, the path of a link that sets a password, the device (desk or phone), a webhook receiver, a folder for screenshots.
"use strict";
const { DESK, PHONE, must, examine, tabTo, press, type, open, walk } = require("./page.cjs");

const [base, link, device, receiver, shots] = process.argv.slice(2);
const PASSWORD = "correct horse battery";

walk(async (browser) => {
  const { page, problems } = await open(browser, device === "phone" ? PHONE : DESK);
  await page.goto(base + link);
  await examine(page, shots, `portal-${device}-password`);
  await type(page, "#password", PASSWORD);
  await type(page, "#again", PASSWORD);
  await press(page, "main button");
  await type(page, "#email", "owner@shop.example");
  await type(page, "#password", "not the password");
  await press(page, "main button");
  await examine(page, shots, `portal-${device}-sign-in-wrong`);
  await type(page, "#password", PASSWORD);
  await press(page, "main button");
  must(page.url() === base + "/portal/", page.url());
  await examine(page, shots, `portal-${device}-stores`);
  await press(page, ".stores a");
  await examine(page, shots, `portal-${device}-keys`);
  if (device === "phone") {
    await tabTo(page, ".fold > summary");
    await page.keyboard.press("Enter");
    must(await page.isVisible(".fold nav"), "the menu unfolds");
  }
  if (!(await page.isVisible("#name"))) {
    await tabTo(page, ".create > summary");
    await page.keyboard.press("Enter");
  }
  await type(page, "#name", "Shop server");
  await press(page, ".create button");
  await examine(page, shots, `portal-${device}-made`);
  const key = await page.textContent("#made-key");
  const body = { cart: { "WIN-11-PRO": 1 }, currency: "GBP" };
  const headers = { Authorization: `Bearer ${key}`, "Content-Type": "application/json" };
  const ask = async () => (await fetch(`${base}/api/v1/stores/demo/checkout/session/`, { method: "POST", headers, body: JSON.stringify(body) })).status;
  // The edge hears of a new key a moment later.
  let status = 0;
  for (let n = 0; n < 40 && status !== 201; n++) status = await ask();
  must(status === 201, `201 and not ${status}`);
  await tabTo(page, ".doings details:nth-child(2) > summary");
  await page.keyboard.press("Enter");
  await press(page, "button.danger");
  must((await page.textContent(".banner")).includes("Every server refuses it since"), await page.textContent(".banner"));
  must((await ask()) === 401, "refused at once");
  await examine(page, shots, `portal-${device}-revoked`);

  // Store settings: an endpoint, a test event, what came of it, and once more.
  const go = async (name) => {
    if (device === "phone") {
      await tabTo(page, ".fold > summary");
      await page.keyboard.press("Enter");
    }
    await press(page, `${device === "phone" ? ".fold" : ".side"} nav a[href$="/${name}/"]`);
  };
  const shot = (name) => examine(page, shots, `portal-${device}-${name}`);
  await go("payments");
  await shot("payments");
  if (!(await page.isVisible("#url"))) {
    await tabTo(page, ".create > summary");
    await page.keyboard.press("Enter");
  }
  await type(page, "#url", receiver);
  await press(page, ".create button");
  must((await page.textContent("#made-secret")).startsWith("whsec_"), "the secret, once");
  await shot("endpoint-made");
  await press(page, "form.test button");
  must((await page.textContent("h1")) === "webhook.test", await page.textContent("h1"));
  const attempted = async (count) => {
    for (let n = 0; n < 60 && (await page.locator(".timeline .good").count()) < count; n++) {
      await page.waitForTimeout(100);
      await press(page, ".again");
    }
    must((await page.locator(".timeline .good").count()) === count, `${count} attempts that went well`);
  };
  await attempted(1);
  await shot("delivery");
  await press(page, ".resend");
  must((await page.textContent(".banner")).includes("being sent again"), await page.textContent(".banner"));
  await attempted(2);
  await press(page, ".back a");
  await shot("endpoint");
  await go("audit-log");
  must((await page.textContent(".log")).includes("added the webhook endpoint"), "the log");
  await shot("audit-log");
  must(problems.length === 0, problems.join("; "));
});
