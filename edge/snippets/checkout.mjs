const resp = await fetch('https://pay.example.com/api/v1/stores/my-store/checkout/session/', {
  method: 'POST',
  headers: {
    'Authorization': 'Bearer sk_live_...',
    'Content-Type': 'application/json',
  },
  body: JSON.stringify({ cart: { 'WIN-11-PRO': 1 }, currency: 'GBP' }),
});
if (!resp.ok) throw new Error(await resp.text());
const { checkout_url } = await resp.json();
console.log(checkout_url);
