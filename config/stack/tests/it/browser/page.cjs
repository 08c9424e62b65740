// What walks through pages have in common: a browser, what every page must be, and moving about by keyboard alone.
"use strict";
const fs = require("fs");
const path = require("path");
const { chromium } = require("playwright-core");
const { CspEvaluator } = require("csp_evaluator/dist/evaluator.js");
const { CspParser } = require("csp_evaluator/dist/parser.js");
const { Severity } = require("csp_evaluator/dist/finding.js");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const DESK = { viewport: { width: 1280, height: 800 } };
const PHONE = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true, colorScheme: "dark" };

// Of each page, the policy that it came with.
const policies = new WeakMap();

function must(holds, what) {
  if (!holds) throw new Error(what);
}

// Accessible, without sideways scrolling, with a policy that keeps scripts out; and a picture of it.
async function examine(page, shots, name) {
  const findings = new CspEvaluator(new CspParser(policies.get(page) ?? "").csp).evaluate();
  const grave = findings.filter(({ severity }) => severity <= Severity.MEDIUM || severity === Severity.HIGH_MAYBE);
  must(grave.length === 0, `${name}: ${policies.get(page)}: ${JSON.stringify(grave)}`);
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  must(serious.length === 0, `${name}: ${JSON.stringify(serious.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]))}`);
  const sideways = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  must(sideways <= 0, `${name}: scrolls ${sideways} px sideways`);
  await page.screenshot({ path: path.join(shots, `${name}.png`), fullPage: true });
}

// Tab by tab to what the selector means, as somebody without a mouse would.
async function tabTo(page, selector, most = 80) {
  for (let n = 0; n < most; n++) {
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

// A page of a new browser; what it complains of is collected.
async function open(browser, options) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(15000);
  const page = await context.newPage();
  const problems = [];
  page.on("console", (message) => {
    if (message.type() === "error" && !/status of 4\d\d|status of 503/.test(message.text())) problems.push(message.text());
  });
  page.on("response", (response) => {
    const isPage = response.request().isNavigationRequest() && response.frame() === page.mainFrame();
    if (isPage && response.status() !== 302 && response.status() !== 303) policies.set(page, response.headers()["content-security-policy"]);
  });
  page.on("pageerror", (error) => problems.push(String(error)));
  return { context, page, problems };
}

// Runs a walk to its end, or says what is wrong with it.
function walk(steps) {
  (async () => {
    const env = { ...process.env, LD_LIBRARY_PATH: process.env.CHROMIUM_LIBRARIES };
    const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, env, args: ["--no-sandbox", "--disable-gpu"] });
    try {
      await steps(browser);
      console.log("walked");
    } finally {
      await browser.close();
    }
  })().catch((error) => {
    console.error(error);
    process.exit(1);
  });
}

module.exports = { DESK, PHONE, must, examine, tabTo, press, type, open, walk };
