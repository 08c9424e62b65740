// Walks the portal in headless Chromium, by keyboard alone: password, sign-in, store, key, and a request with that key. Arguments: the edge's
// address, the path of a link that sets a password, the device (desk or phone), a folder for screenshots.
"use strict";
const fs = require("fs");
const path = require("path");
const { chromium } = require("playwright-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const [base, link, device, shots] = process.argv.slice(2);
const PASSWORD = "correct horse battery";

function must(holds, what) {
  if (!holds) throw new Error(what);
}

// What every page must be: accessible, without sideways scrolling, with nothing refused by its own policy.
async function examine(page, name) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  must(serious.length === 0, `${name}: ${JSON.stringify(serious.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]))}`);
  const sideways = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  must(sideways <= 0, `${name}: scrolls ${sideways} px sideways`);
  await page.screenshot({ path: path.join(shots, `portal-${device}-${name}.png`), fullPage: true });
}

// Tab by tab to what has this accessible name, as somebody without a mouse would.
async function tabTo(page, selector) {
  for (let n = 0; n < 80; n++) {
    await page.keyboard.press("Tab");
    if (await page.evaluate((wanted) => document.activeElement.matches(wanted), selector)) {
      const ring = await page.evaluate(() => {
        const style = getComputedStyle(document.activeElement);
        return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
      });
      must(ring, `no focus ring on ${selector}`);
      return;
    }
  }
  throw new Error(`${selector} cannot be reached with Tab on ${page.url()}`);
}

async function press(page, selector) {
  await tabTo(page, selector);
  await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
}

async function type(page, selector, text) {
  await tabTo(page, selector);
  await page.keyboard.type(text);
}

(async () => {
  const env = { ...process.env, LD_LIBRARY_PATH: process.env.CHROMIUM_LIBRARIES };
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, env, args: ["--no-sandbox", "--disable-gpu"] });
  const desk = { viewport: { width: 1280, height: 800 } };
  const phone = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true, colorScheme: "dark" };
  try {
    const context = await browser.newContext(device === "phone" ? phone : desk);
    context.setDefaultTimeout(15000);
    const page = await context.newPage();
    const problems = [];
    page.on("console", (message) => {
      if (message.type() === "error" && !/status of 4\d\d/.test(message.text())) problems.push(message.text());
    });
    page.on("pageerror", (error) => problems.push(String(error)));

    await page.goto(base + link);
    await examine(page, "password");
    await type(page, "#password", PASSWORD);
    await type(page, "#again", PASSWORD);
    await press(page, "main button");
    await type(page, "#email", "owner@shop.example");
    await type(page, "#password", "not the password");
    await press(page, "main button");
    await examine(page, "sign-in-wrong");
    await type(page, "#password", PASSWORD);
    await press(page, "main button");
    must(page.url() === base + "/portal/", page.url());
    await examine(page, "stores");
    await press(page, ".stores a");
    await examine(page, "keys");
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
    await examine(page, "made");
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
    await examine(page, "revoked");
    must(problems.length === 0, problems.join("; "));
    console.log("walked");
  } finally {
    await browser.close();
  }
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
