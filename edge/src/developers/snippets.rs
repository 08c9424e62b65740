//! The snippets of the developer portal. Each is a file that the tests run as it stands, with host, store and key put in as a reader would.

/// The store, product and currency that snippets name.
pub const STORE: &str = "my-store";
/// See [`STORE`].
pub const SKU: &str = "WIN-11-PRO";
/// See [`STORE`].
pub const CURRENCY: &str = "GBP";
/// Where they believe this installation to be.
const BASE_URL: &str = "https://pay.example.com";

macro_rules! snippets {
    ($($name:ident = $file:literal;)+) => {
        $(#[doc = concat!("`edge/snippets/", $file, "`")]
        pub const $name: &str = include_str!(concat!("../../snippets/", $file));)+
    };
}

snippets! {
    CHECKOUT_SH = "checkout.sh";
    CHECKOUT_PY = "checkout.py";
    CHECKOUT_MJS = "checkout.mjs";
    FULFILL_SH = "fulfill.sh";
    FULFILL_PY = "fulfill.py";
    SUBDIVISIONS_SH = "subdivisions.sh";
    TAX_RATES_SH = "tax_rates.sh";
    WEBHOOK_PY = "webhook.py";
    WEBHOOK_MJS = "webhook.mjs";
    WEBHOOK_PHP = "webhook.php";
    STANDARD_WEBHOOKS_PY = "standard_webhooks.py";
    EVENT_JSON = "event.json";
    EXPRESS_MJS = "express.mjs";
    WORDPRESS_PHP = "wordpress.php";
    LINKS_HTML = "links.html";
    STRIPE_LISTEN_SH = "stripe_listen.sh";
}

/// A snippet with a reader's names in it.
pub fn fill(text: &str, base_url: &str, store: &str, sku: &str, currency: &str) -> String {
    text.replace(BASE_URL, base_url)
        .replace(STORE, store)
        .replace(SKU, sku)
        .replace(&format!("\"{CURRENCY}\""), &format!("\"{currency}\""))
        .replace(&format!("'{CURRENCY}'"), &format!("'{currency}'"))
        .replace(&format!("currency={CURRENCY}"), &format!("currency={currency}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_readers_names_stand_in_every_place() {
        for snippet in [CHECKOUT_SH, CHECKOUT_PY, CHECKOUT_MJS, EXPRESS_MJS, WORDPRESS_PHP, LINKS_HTML] {
            let filled = fill(snippet, "https://pay.shop.example", "corner", "GAME-1", "EUR");
            for gone in [BASE_URL, STORE, SKU, CURRENCY] {
                assert!(!filled.contains(gone), "{gone} in {filled}");
            }
            for there in ["https://pay.shop.example", "corner", "EUR"] {
                assert!(filled.contains(there), "{there} in {filled}");
            }
        }
    }
}
