// Walks from a file of license keys to a sale, to the order, and to the marketplace, by keyboard alone. Arguments: the edge's address, the
// path of a link that sets a password, the device (desk or phone), a file of license keys, how many it has, an API key, and a folder for
// screenshots.
"use strict";
const { DESK, PHONE, must, examine: look, tabTo, press, type, open, walk } = require("./page.cjs");

const [base, link, device, file, count, key, shots] = process.argv.slice(2);
const examine = (page, name) => look(page, shots, `catalog-${device}-${name}`);
const PASSWORD = "correct horse battery";

// Over the menu, which a phone has folded.
async function go(page, place) {
  const nav = device === "phone" ? ".fold" : ".side";
  if (device === "phone") {
    await tabTo(page, ".fold > summary");
    await page.keyboard.press("Enter");
  }
  await press(page, `${nav} a[href$="/${place}/"]`);
}

async function level(page) {
  await page.reload();
  return (await page.textContent("#level-live")).replace(/,/g, "");
}

walk(async (browser) => {
  const { page, problems } = await open(browser, device === "phone" ? PHONE : DESK);
  await page.goto(base + link);
  await type(page, "#password", PASSWORD);
  await type(page, "#again", PASSWORD);
  await press(page, "main button");
  await type(page, "#email", "owner@shop.example");
  await type(page, "#password", PASSWORD);
  await press(page, "main button");
  await press(page, ".stores a");

  await go(page, "products");
  await examine(page, "products");
  await press(page, "tbody tr:nth-child(2) a");
  const before = Number(await level(page));
  await examine(page, "product");
  await page.setInputFiles("#file", file);
  await tabTo(page, ".import button");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => /^(Done|.*Until then)/.test(document.querySelector("[data-progress]").textContent));
  const said = await page.textContent("[data-progress]");
  must(said === `Done: ${Number(count).toLocaleString("en")} new, 1 known already, 2 invalid.`, said);
  must((await page.textContent("[data-invalid]")).includes("Line 3: "), await page.textContent("[data-invalid]"));
  await examine(page, "imported");
  must(Number(await level(page)) === before + Number(count), `${before} and ${count} are not ${await level(page)}`);

  const body = { customer_email: `${device}@example.com`, items: [{ sku: "WIN-11-PRO", quantity: 3 }], external_reference: `sale-${device}`, currency: "GBP", total_minor: 8997 };
  const headers = { Authorization: `Bearer ${key}`, "Content-Type": "application/json" };
  const sold = await fetch(`${base}/api/v1/stores/demo/licensing/fulfill/`, { method: "POST", headers, body: JSON.stringify(body) });
  const order = await sold.json();
  must(sold.status === 201, `${sold.status}`);
  must(Number(await level(page)) === before + Number(count) - 3, `sold 3, and ${await level(page)} are left`);
  await examine(page, "sold");

  await go(page, "orders");
  await examine(page, "orders");
  await type(page, "#q", body.customer_email.toUpperCase());
  await page.keyboard.press("Enter");
  await page.waitForURL(/q=/);
  must((await page.locator("tbody tr").count()) === 1, "the one order of this address");
  await examine(page, "found");
  await press(page, "tbody a");
  must((await page.textContent("h1")) === order.order_id, order.order_id);
  const text = await page.textContent("main");
  must(!text.includes(order.items[0].license_keys[0]), "no license key in clear");
  await examine(page, "order");
  await tabTo(page, "details.create > summary");
  await page.keyboard.press("Enter");
  await press(page, "button.danger");
  must((await page.textContent(".banner")).includes("The order is revoked."), await page.textContent(".banner"));
  await examine(page, "revoked");

  await go(page, "market");
  await examine(page, "market");
  await press(page, "tbody tr:nth-child(2) a");
  if (!(await page.isChecked("input[name=listed]"))) {
    await tabTo(page, "input[name=listed]");
    await page.keyboard.press("Space");
  }
  await tabTo(page, "#title");
  await page.keyboard.press("Control+A");
  await page.keyboard.type("Windows 11 Pro, for good");
  await tabTo(page, "#text");
  await page.keyboard.press("Control+A");
  await page.keyboard.type("One license for one computer. The key comes at once.");
  await press(page, "main form button");
  must((await page.textContent(".banner")).includes("The marketplace shows it."), await page.textContent(".banner"));
  await examine(page, "listing");
  await press(page, "a.button");
  must((await page.textContent("main")).includes("One license for one computer."), "the marketplace says so");
  await examine(page, "shelf");
  await page.goBack();

  await go(page, "usage");
  await examine(page, "usage");
  await tabTo(page, ".numbers > summary");
  await page.keyboard.press("Enter");
  must((await page.locator(".numbers tbody tr").count()) === 24, "every hour has a row");
  await examine(page, "usage-table");
  must(problems.length === 0, problems.join("; "));
});
