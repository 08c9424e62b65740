// A file of license keys goes to the server in pieces no larger than any other request, each taken in or refused as a whole. A piece that is
// sent twice does no harm: no key is taken in twice.
"use strict";

const form = document.querySelector("form[data-import]");
const file = document.getElementById("file");
const progress = form.querySelector("[data-progress]");
const invalidList = form.querySelector("[data-invalid]");
const button = form.querySelector("button");
// As it is encoded; a request may have 64 KiB.
const PIECE_BYTES = 48000;
const INVALID_SHOWN = 20;
const TRIES = 5;

form.querySelector("[data-file]").hidden = false;

function tell(text, tone) {
  progress.textContent = text;
  progress.className = `banner ${tone}`;
  progress.hidden = false;
}

const encodedLength = (line) => encodeURIComponent(line).length + 3;
const wait = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

// Whether the first line names columns, which the server must know with every piece.
function headerOf(line) {
  const names = line.split(",").map((name) => name.trim().replace(/^"|"$/g, "").toLowerCase());
  return names.includes("license_key") || names.includes("key") ? line : "";
}

async function send(fields) {
  for (let tries = 1; ; tries++) {
    let answer;
    try {
      answer = await fetch(form.action, { method: "POST", headers: { Accept: "application/json" }, body: new URLSearchParams(fields), redirect: "error" });
    } catch {
      if (tries === TRIES) throw new Error("The connection is lost.");
      await wait(tries);
      continue;
    }
    if (answer.ok) return answer.json();
    if ((answer.status === 429 || answer.status === 503) && tries < TRIES) {
      await wait(Number(answer.headers.get("Retry-After")) || tries);
      continue;
    }
    const isTold = (answer.headers.get("Content-Type") || "").startsWith("application/json");
    throw new Error(isTold ? (await answer.json()).error : "The server refused it. Load the page again, and sign in if you are asked to.");
  }
}

async function importFile(chosen) {
  const lines = (await chosen.text()).replace(/^\ufeff/, "").split(/\r\n|\n/);
  const header = headerOf(lines[0]);
  const token = form.elements.form_token.value;
  const mode = form.elements.mode.value;
  const sum = { new: 0, duplicate: 0, invalid: 0 };
  const text = () => `${sum.new.toLocaleString("en")} new, ${sum.duplicate.toLocaleString("en")} known already, ${sum.invalid.toLocaleString("en")} invalid`;
  let at = header ? 1 : 0;
  try {
    while (at < lines.length) {
      const from = at;
      let bytes = encodedLength(header);
      do bytes += encodedLength(lines[at++]); while (at < lines.length && at - from < 4000 && bytes + encodedLength(lines[at]) <= PIECE_BYTES);
      const keys = lines.slice(from, at).join("\n");
      if (!keys.trim()) continue;
      const report = await send({ form_token: token, mode, header, line: String(from + 1), keys });
      for (const name of Object.keys(sum)) sum[name] += report[name];
      for (const { line, reason } of report.invalid_lines) {
        if (invalidList.children.length === INVALID_SHOWN) break;
        const item = document.createElement("li");
        item.textContent = `Line ${line}: ${reason}`;
        invalidList.append(item);
      }
      tell(`${Math.floor((100 * at) / lines.length)} %: ${text()}`, "note");
    }
    if (sum.new + sum.duplicate + sum.invalid === 0) throw new Error("There is no license key in it.");
    // Above what is counted, the page says so in words.
    const level = document.getElementById(`level-${mode}`);
    const before = Number(level.textContent.replaceAll(",", ""));
    if (Number.isFinite(before)) level.textContent = (before + sum.new).toLocaleString("en");
    tell(`Done: ${text()}.`, sum.invalid ? "note" : "good");
  } catch (error) {
    tell(`${error.message} Until then: ${text()}. Import the whole file again, no key is taken in twice.`, "wrong");
  }
}

form.addEventListener("submit", async (event) => {
  const chosen = file.files[0];
  if (!chosen) return;
  event.preventDefault();
  button.disabled = true;
  invalidList.replaceChildren();
  await importFile(chosen);
  button.disabled = false;
  file.value = "";
});
