// Comfort for the developer portal: the reader's key in every example, endpoints tried from the page, signatures made and checked. All pages
// can be read without it.
"use strict";

const PLACEHOLDER = "sk_live_...";
const KEPT_AS = "developers-key";

// The key lives in this tab alone: it is never part of an address, a form that is sent, or anything that outlives the tab.
const ownKey = () => sessionStorage.getItem(KEPT_AS) || "";

const originals = new Map();
for (const code of document.querySelectorAll("code[data-fill]")) originals.set(code, code.textContent);
const fill = () => {
  for (const [code, text] of originals) code.textContent = ownKey() ? text.replaceAll(PLACEHOLDER, ownKey()) : text;
};

const keyForm = document.querySelector("form[data-own-key]");
if (keyForm) {
  keyForm.hidden = false;
  const input = keyForm.elements.key;
  input.value = ownKey();
  keyForm.addEventListener("submit", (event) => {
    event.preventDefault();
    if (input.value.trim()) sessionStorage.setItem(KEPT_AS, input.value.trim());
    else sessionStorage.removeItem(KEPT_AS);
    fill();
    keyForm.querySelector("button").textContent = input.value.trim() ? "Filled in" : "Fill in";
  });
}
fill();

const shown = (result, title, text) => {
  const heading = document.createElement("p");
  heading.textContent = title;
  const pre = document.createElement("pre");
  pre.tabIndex = 0;
  pre.textContent = text;
  result.replaceChildren(heading, pre);
};

const pretty = (text) => {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
};

for (const form of document.querySelectorAll("form[data-try]")) {
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const result = form.querySelector("[data-result]");
    let path = form.dataset.path;
    const query = new URLSearchParams();
    for (const input of form.querySelectorAll("input[data-place]")) {
      if (input.dataset.place === "path") path = path.replace(`{${input.name}}`, encodeURIComponent(input.value));
      else if (input.value) query.set(input.name, input.value);
    }
    const headers = {};
    if (form.dataset.needsKey === "true") {
      if (!ownKey()) return shown(result, "A key is needed.", "Put a test key in at the top of this page first.");
      headers.Authorization = `Bearer ${ownKey()}`;
    }
    const body = form.querySelector("[data-body]");
    if (body) headers["Content-Type"] = "application/json";
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      const began = performance.now();
      const address = query.size ? `${path}?${query}` : path;
      const answer = await fetch(address, { method: form.dataset.method, headers, body: body ? body.value : undefined, credentials: "omit" });
      const text = await answer.text();
      const took = Math.round(performance.now() - began);
      const left = answer.headers.get("X-RateLimit-Remaining");
      const rate = left === null ? "" : `, ${left} of ${answer.headers.get("X-RateLimit-Limit")} requests left`;
      shown(result, `${answer.status} ${answer.statusText} in ${took} ms${rate}`, pretty(text));
    } catch (error) {
      shown(result, "There was no answer.", String(error));
    } finally {
      button.disabled = false;
    }
  });
}

const playground = document.querySelector("form[data-playground]");
if (playground) {
  playground.hidden = false;
  playground.addEventListener("submit", (event) => event.preventDefault());
  const [secret, body, header, signature, verdict] = ["secret", "body", "header", "signature", "verdict"].map((name) => document.getElementById(`play-${name}`));
  const sign = async () => {
    if (!window.crypto || !crypto.subtle) {
      signature.textContent = "Browsers make signatures on https pages and on localhost alone.";
      return;
    }
    const bytes = (text) => new TextEncoder().encode(text);
    if (!secret.value) {
      signature.textContent = "Enter a secret.";
      return;
    }
    const key = await crypto.subtle.importKey("raw", bytes(secret.value), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
    // Fields of forms have other line ends than what was typed or pasted on some systems: ours are those that are seen.
    const mac = new Uint8Array(await crypto.subtle.sign("HMAC", key, bytes(body.value)));
    const hex = "sha256=" + Array.from(mac, (byte) => byte.toString(16).padStart(2, "0")).join("");
    signature.textContent = hex;
    verdict.hidden = !header.value.trim();
    const isRight = header.value.trim() === hex;
    verdict.className = isRight ? "banner good" : "banner wrong";
    verdict.textContent = isRight ? "The header is right." : "The header is not that of this body and secret.";
  };
  for (const input of [secret, body, header]) input.addEventListener("input", sign);
  sign();
}
