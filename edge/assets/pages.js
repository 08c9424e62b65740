// Comfort for hosted pages. Everything but card payments works without it.
"use strict";

// A form that is on its way is not sent twice; the server would make one order of both anyhow.
for (const form of document.querySelectorAll("form[data-once]")) {
  form.addEventListener("submit", () => {
    for (const button of form.querySelectorAll("button")) setTimeout(() => { button.disabled = true; }, 0);
  });
}
// Whoever comes back by the browser's button finds them working.
window.addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  for (const button of document.querySelectorAll("form[data-once] button")) button.disabled = false;
});

// Names of countries in the page's language, sorted as that language does.
const country = document.querySelector("select[name=country]");
if (country && document.documentElement.lang !== "en" && window.Intl && Intl.DisplayNames) {
  const names = new Intl.DisplayNames([document.documentElement.lang], { type: "region", fallback: "none" });
  const chosen = country.value;
  const options = [...country.options].slice(1);
  for (const option of options) option.textContent = names.of(option.value) || option.textContent;
  options.sort((a, b) => a.textContent.localeCompare(b.textContent, document.documentElement.lang));
  country.append(...options);
  country.value = chosen;
}

// The subdivisions of a country, as soon as it is chosen.
const subdivision = document.querySelector("select[name=subdivision]");
if (country && subdivision) {
  const field = subdivision.closest(".field");
  const reload = async () => {
    const wanted = country.value;
    const first = subdivision.options[0];
    subdivision.replaceChildren(first);
    field.hidden = true;
    if (!country.dataset.bySubdivision.split(" ").includes(wanted)) return;
    try {
      const answer = await fetch("/api/v1/geo/subdivisions/?country=" + encodeURIComponent(wanted));
      // The form asks for them again on the server's side.
      if (!answer.ok || country.value !== wanted) return;
      for (const { code, name } of (await answer.json()).subdivisions) subdivision.append(new Option(name, code));
      field.hidden = subdivision.options.length < 2;
    } catch {
      // Without a network the next page will say so.
    }
  };
  country.addEventListener("change", reload);
}

// License keys into the clipboard.
if (navigator.clipboard) {
  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      // The word alone: behind it stands, for those who cannot see where the button is, what it copies.
      const word = button.firstChild;
      const before = word.data;
      word.data = button.dataset.copied;
      setTimeout(() => { word.data = before; }, 2000);
    });
  }
}

// Stripe's form for card and other payments. What is typed there goes to Stripe alone.
const payment = document.getElementById("payment");
if (payment) {
  const button = document.getElementById("payment-button");
  const loading = document.getElementById("payment-loading");
  const problem = document.getElementById("payment-problem");
  const tell = (text) => {
    loading.hidden = true;
    problem.textContent = text || problem.dataset.unreachable;
    problem.hidden = false;
  };
  window.addEventListener("load", () => {
    if (!window.Stripe) return tell();
    const { publishableKey, clientSecret, returnUrl } = payment.dataset;
    const stripe = window.Stripe(publishableKey, { locale: document.documentElement.lang });
    const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
    const elements = stripe.elements({ clientSecret, appearance: { theme: dark ? "night" : "stripe" } });
    const element = elements.create("payment");
    element.on("ready", () => { loading.hidden = true; button.disabled = false; });
    element.on("loaderror", () => tell());
    element.mount("#payment-element");
    payment.addEventListener("submit", async (event) => {
      event.preventDefault();
      button.disabled = true;
      problem.hidden = true;
      // Comes back only if something is wrong: otherwise the browser goes on to the receipt.
      const { error } = await stripe.confirmPayment({ elements, confirmParams: { return_url: returnUrl } });
      tell(error && error.message);
      button.disabled = false;
    });
  });
}
