// npm install express
import express from 'express';

const EPAY_URL = 'https://pay.example.com';
const STORE = 'my-store';
const API_KEY = process.env.EPAY_API_KEY; // sk_live_...

const app = express();
app.use(express.json());

app.post('/buy', async (req, res) => {
  const resp = await fetch(`${EPAY_URL}/api/v1/stores/${STORE}/checkout/session/`, {
    method: 'POST',
    headers: {
      'Authorization': `Bearer ${API_KEY}`,
      'Content-Type': 'application/json',
    },
    body: JSON.stringify({ cart: req.body.cart, currency: 'GBP' }),
  });
  if (!resp.ok) return res.status(502).send('The checkout cannot be reached. Please try again.');
  const { checkout_url } = await resp.json();
  res.redirect(checkout_url);
});

app.listen(3000);
