// Reads the developer portal in headless Chromium: every page as a stranger and signed in, a key filled into the examples, an endpoint tried,
// a signature made. Arguments: the edge's address, the path of a link that sets a password, the device (desk or phone), a test key of the
// store, a folder for screenshots.
"use strict";
const { DESK, PHONE, must, examine, tabTo, press, type, open, walk } = require("./page.cjs");

const [base, link, device, key, shots] = process.argv.slice(2);
const PAGES = ["", "reference/", "webhooks/", "guides/", "limits/", "changelog/", "errors/rate_limited/"];

walk(async (browser) => {
  const { page, problems } = await open(browser, device === "phone" ? PHONE : DESK);
  for (const path of PAGES) {
    await page.goto(`${base}/developers/${path}`);
    await examine(page, shots, `developers-${device}-${path.replaceAll("/", "-") || "start"}`);
    must((await page.textContent("main")).includes("my-store") || !/^(|guides\/)$/.test(path), `${path}: examples for everybody`);
  }
  must((await page.goto(`${base}/developers/nothing/`)).status() === 404, "no such page");

  // Signed in, the reader's own store stands in the examples.
  await page.goto(base + link);
  await type(page, "#password", "correct horse battery");
  await type(page, "#again", "correct horse battery");
  await press(page, "main button");
  await type(page, "#email", "owner@shop.example");
  await type(page, "#password", "correct horse battery");
  await press(page, "main button");
  await page.goto(`${base}/developers/`);
  must((await page.textContent("#quick-sh")).includes("/stores/corner-shop/") && (await page.textContent("#quick-sh")).includes("GAME-1"), "the reader's store");

  // The key is put in where it is needed, and nowhere else.
  await type(page, "#own-key", key);
  await page.keyboard.press("Enter");
  await page.waitForFunction((wanted) => document.querySelector("#quick-sh").textContent.includes(wanted), key);
  must(!page.url().includes("sk_test"), page.url());
  await examine(page, shots, `developers-${device}-filled`);

  await page.goto(`${base}/developers/reference/`);
  await page.focus("#createCheckoutSession-try-body");
  const body = await page.inputValue("#createCheckoutSession-try-body");
  must(JSON.parse(body).cart["GAME-1"] === 1, body);
  await tabTo(page, "#createCheckoutSession .try button");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector("#createCheckoutSession [data-result] pre"));
  const answer = await page.textContent("#createCheckoutSession [data-result]");
  must(/^201 .* requests left/.test(answer) && answer.includes("checkout_url"), answer);
  await page.locator("#createCheckoutSession").screenshot({ path: `${shots}/developers-${device}-tried.png` });
  await page.click("#listSubdivisions .try button");
  await page.waitForFunction(() => document.querySelector("#listSubdivisions [data-result] pre"));
  must((await page.textContent("#listSubdivisions [data-result]")).includes("Alabama"), "states");

  await page.goto(`${base}/developers/webhooks/`);
  await page.fill("#play-secret", "secret");
  await page.fill("#play-body", "body");
  const right = "sha256=dc46983557fea127b43af721467eb9b3fde2338fe3e14f51952aa8478c13d355";
  await page.waitForFunction((wanted) => document.querySelector("#play-signature").textContent === wanted, right);
  await page.fill("#play-header", right);
  await page.waitForSelector("#play-verdict.good");
  await page.fill("#play-body", "bodz");
  await page.waitForSelector("#play-verdict.wrong");
  must(problems.length === 0, problems.join("; "));
});
