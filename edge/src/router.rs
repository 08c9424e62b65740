//! The one table of routes. What a route demands and what it counts under hang on the route itself, so that a new endpoint cannot forget
//! them.

use common::api_key::Scope;
use http::Method;

use crate::developers::Topic;
use crate::gate::Access;
use crate::pages::Page;
use crate::portal::Screen;
use crate::quotas::QuotaName;

/// What answers a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `api/checkout_session.rs`
    CheckoutSession,
    /// `api/fulfill.rs`
    Fulfill,
    /// `api/orders.rs`
    ListOrders,
    /// `api/orders.rs`
    GetOrder,
    /// `api/orders.rs`
    RevokeOrder,
    /// `api/webhooks.rs`
    ListWebhooks,
    /// `api/webhooks.rs`
    CreateWebhook,
    /// `api/webhooks.rs`
    GetWebhook,
    /// `api/webhooks.rs`
    ChangeWebhook,
    /// `api/webhooks.rs`
    DeleteWebhook,
    /// `api/webhooks.rs`
    RotateWebhookSecret,
    /// `api/webhooks/deliveries.rs`
    TestWebhook,
    /// `api/webhooks/deliveries.rs`
    ResendDeliveries,
    /// `api/webhooks/deliveries.rs`
    ListDeliveries,
    /// `api/webhooks/deliveries.rs`
    GetDelivery,
    /// `api/webhooks/deliveries.rs`
    ResendDelivery,
    /// `api/subdivisions.rs`
    Subdivisions,
    /// `api/tax_rates.rs`
    TaxRates,
    /// `api/openapi.rs`
    OpenApi,
    /// `stripe.rs`
    StripeWebhook,
    /// `developers.rs`
    Developers(Topic),
    /// `pages.rs`
    Page(Page),
    /// `portal.rs`
    Portal(Screen),
}

/// A path, a method and what they lead to.
#[derive(Debug)]
pub struct Route {
    /// The name in metrics and logs.
    pub name: &'static str,
    /// The method. A GET route answers HEAD too.
    pub method: Method,
    /// The path without its trailing slash; with and without it are the same.
    pub path: &'static str,
    /// What it demands.
    pub access: Access,
    /// What answers.
    pub endpoint: Endpoint,
    /// Whether a browser may read it from any origin.
    pub any_origin: bool,
}

const fn route(name: &'static str, method: Method, path: &'static str, access: Access, endpoint: Endpoint) -> Route {
    let any_origin = matches!(access, Access::Address(_));
    Route { name, method, path, access, endpoint, any_origin }
}

/// A form of the portal's.
const fn change(name: &'static str, path: &'static str, screen: Screen) -> Route {
    route(name, Method::POST, path, Access::Page, Endpoint::Portal(screen))
}

const CHECKOUT: Access = Access::Key(Scope::Checkout, QuotaName::Checkout);
const LICENSING: Access = Access::Key(Scope::Licensing, QuotaName::Licensing);
const ORDERS: Access = Access::Key(Scope::Licensing, QuotaName::Api);
const WEBHOOKS: Access = Access::Key(Scope::Webhooks, QuotaName::Api);

/// Every route there is.
pub static ROUTES: [Route; 81] = [
    route("checkout_session", Method::POST, "/api/v1/stores/{slug}/checkout/session", CHECKOUT, Endpoint::CheckoutSession),
    route("fulfill", Method::POST, "/api/v1/stores/{slug}/licensing/fulfill", LICENSING, Endpoint::Fulfill),
    route("list_orders", Method::GET, "/api/v1/stores/{slug}/orders", ORDERS, Endpoint::ListOrders),
    route("get_order", Method::GET, "/api/v1/stores/{slug}/orders/{order_id}", ORDERS, Endpoint::GetOrder),
    route("revoke_order", Method::POST, "/api/v1/stores/{slug}/orders/{order_id}/revoke", ORDERS, Endpoint::RevokeOrder),
    route("list_webhooks", Method::GET, "/api/v1/stores/{slug}/webhooks", WEBHOOKS, Endpoint::ListWebhooks),
    route("create_webhook", Method::POST, "/api/v1/stores/{slug}/webhooks", WEBHOOKS, Endpoint::CreateWebhook),
    route("get_webhook", Method::GET, "/api/v1/stores/{slug}/webhooks/{webhook_id}", WEBHOOKS, Endpoint::GetWebhook),
    route("change_webhook", Method::PATCH, "/api/v1/stores/{slug}/webhooks/{webhook_id}", WEBHOOKS, Endpoint::ChangeWebhook),
    route("delete_webhook", Method::DELETE, "/api/v1/stores/{slug}/webhooks/{webhook_id}", WEBHOOKS, Endpoint::DeleteWebhook),
    route(
        "rotate_webhook_secret",
        Method::POST,
        "/api/v1/stores/{slug}/webhooks/{webhook_id}/rotate-secret",
        WEBHOOKS,
        Endpoint::RotateWebhookSecret,
    ),
    route("test_webhook", Method::POST, "/api/v1/stores/{slug}/webhooks/{webhook_id}/test", WEBHOOKS, Endpoint::TestWebhook),
    route("resend_deliveries", Method::POST, "/api/v1/stores/{slug}/webhooks/{webhook_id}/resend", WEBHOOKS, Endpoint::ResendDeliveries),
    route("list_deliveries", Method::GET, "/api/v1/stores/{slug}/webhooks/{webhook_id}/deliveries", WEBHOOKS, Endpoint::ListDeliveries),
    route(
        "get_delivery",
        Method::GET,
        "/api/v1/stores/{slug}/webhooks/{webhook_id}/deliveries/{delivery_id}",
        WEBHOOKS,
        Endpoint::GetDelivery,
    ),
    route(
        "resend_delivery",
        Method::POST,
        "/api/v1/stores/{slug}/webhooks/{webhook_id}/deliveries/{delivery_id}/resend",
        WEBHOOKS,
        Endpoint::ResendDelivery,
    ),
    route("subdivisions", Method::GET, "/api/v1/geo/subdivisions", Access::Address(QuotaName::Geo), Endpoint::Subdivisions),
    route("tax_rates", Method::GET, "/api/v1/tax/rates", Access::Address(QuotaName::Tax), Endpoint::TaxRates),
    route("openapi", Method::GET, "/api/v1/openapi.json", Access::Address(QuotaName::Anonymous), Endpoint::OpenApi),
    route("stripe_webhook", Method::POST, "/stripe/webhook", Access::Open, Endpoint::StripeWebhook),
    route("developers", Method::GET, "/developers", Access::Page, Endpoint::Developers(Topic::QuickStart)),
    route("developers_reference", Method::GET, "/developers/reference", Access::Page, Endpoint::Developers(Topic::Reference)),
    route("developers_webhooks", Method::GET, "/developers/webhooks", Access::Page, Endpoint::Developers(Topic::Webhooks)),
    route("developers_guides", Method::GET, "/developers/guides", Access::Page, Endpoint::Developers(Topic::Guides)),
    route("developers_limits", Method::GET, "/developers/limits", Access::Page, Endpoint::Developers(Topic::Limits)),
    route("developers_changelog", Method::GET, "/developers/changelog", Access::Page, Endpoint::Developers(Topic::Changelog)),
    // Whoever has run into a limit may read what that means.
    route("error_page", Method::GET, "/developers/errors/{code}", Access::Open, Endpoint::Developers(Topic::Error)),
    route("open_cart", Method::GET, "/s/{slug}/cart", Access::Page, Endpoint::Page(Page::OpenCart)),
    route("cart", Method::GET, "/s/{slug}/cart/{cart_id}", Access::Page, Endpoint::Page(Page::Cart)),
    route("change_cart", Method::POST, "/s/{slug}/cart/{cart_id}", Access::Page, Endpoint::Page(Page::ChangeCart)),
    route("details", Method::GET, "/s/{slug}/cart/{cart_id}/details", Access::Page, Endpoint::Page(Page::Details)),
    route("save_details", Method::POST, "/s/{slug}/cart/{cart_id}/details", Access::Page, Endpoint::Page(Page::SaveDetails)),
    route("check", Method::GET, "/s/{slug}/cart/{cart_id}/pay", Access::Page, Endpoint::Page(Page::Check)),
    route("place_order", Method::POST, "/s/{slug}/cart/{cart_id}/pay", Access::Page, Endpoint::Page(Page::PlaceOrder)),
    route("payment", Method::GET, "/s/{slug}/payment/{link}", Access::Page, Endpoint::Page(Page::Payment)),
    route("test_payment", Method::POST, "/s/{slug}/payment/{link}", Access::Page, Endpoint::Page(Page::TestPayment)),
    route("receipt", Method::GET, "/s/{slug}/receipt/{link}", Access::Page, Endpoint::Page(Page::Receipt)),
    route("market", Method::GET, "/market", Access::Page, Endpoint::Page(Page::Market)),
    route("add_on_market", Method::POST, "/market", Access::Page, Endpoint::Page(Page::AddOnMarket)),
    route("market_cart", Method::GET, "/market/cart", Access::Page, Endpoint::Page(Page::MarketCart)),
    route("portal", Method::GET, "/portal", Access::Page, Endpoint::Portal(Screen::Stores)),
    route("portal_sign_in", Method::GET, "/portal/sign-in", Access::Page, Endpoint::Portal(Screen::SignIn)),
    route("portal_submit_sign_in", Method::POST, "/portal/sign-in", Access::Page, Endpoint::Portal(Screen::SubmitSignIn)),
    route("portal_password", Method::GET, "/portal/password/{link}", Access::Page, Endpoint::Portal(Screen::Password)),
    route("portal_set_password", Method::POST, "/portal/password/{link}", Access::Page, Endpoint::Portal(Screen::SetPassword)),
    route("portal_sign_out", Method::POST, "/portal/sign-out", Access::Page, Endpoint::Portal(Screen::SignOut)),
    route(
        "portal_sign_out_everywhere",
        Method::POST,
        "/portal/sign-out-everywhere",
        Access::Page,
        Endpoint::Portal(Screen::SignOutEverywhere),
    ),
    route("portal_keys", Method::GET, "/portal/stores/{slug}/keys", Access::Page, Endpoint::Portal(Screen::Keys)),
    route("portal_create_key", Method::POST, "/portal/stores/{slug}/keys", Access::Page, Endpoint::Portal(Screen::CreateKey)),
    route("portal_roll_key", Method::POST, "/portal/stores/{slug}/keys/{key_id}/roll", Access::Page, Endpoint::Portal(Screen::RollKey)),
    route(
        "portal_revoke_key",
        Method::POST,
        "/portal/stores/{slug}/keys/{key_id}/revoke",
        Access::Page,
        Endpoint::Portal(Screen::RevokeKey),
    ),
    route("portal_orders", Method::GET, "/portal/stores/{slug}/orders", Access::Page, Endpoint::Portal(Screen::Orders)),
    route("portal_export_orders", Method::GET, "/portal/stores/{slug}/orders/export", Access::Page, Endpoint::Portal(Screen::ExportOrders)),
    route("portal_order", Method::GET, "/portal/stores/{slug}/orders/{order_id}", Access::Page, Endpoint::Portal(Screen::Order)),
    route(
        "portal_revoke_order",
        Method::POST,
        "/portal/stores/{slug}/orders/{order_id}/revoke",
        Access::Page,
        Endpoint::Portal(Screen::RevokeOrder),
    ),
    route("portal_payments", Method::GET, "/portal/stores/{slug}/payments", Access::Page, Endpoint::Portal(Screen::Payments)),
    change("portal_set_policy", "/portal/stores/{slug}/payments/policy", Screen::SetPolicy),
    change("portal_set_tax", "/portal/stores/{slug}/payments/tax", Screen::SetTax),
    change("portal_set_return_hosts", "/portal/stores/{slug}/payments/return-hosts", Screen::SetReturnHosts),
    change("portal_create_webhook", "/portal/stores/{slug}/webhooks", Screen::CreateWebhook),
    route("portal_webhook", Method::GET, "/portal/stores/{slug}/webhooks/{webhook_id}", Access::Page, Endpoint::Portal(Screen::Webhook)),
    change("portal_change_webhook", "/portal/stores/{slug}/webhooks/{webhook_id}", Screen::ChangeWebhook),
    change("portal_enable_webhook", "/portal/stores/{slug}/webhooks/{webhook_id}/enable", Screen::EnableWebhook),
    change("portal_disable_webhook", "/portal/stores/{slug}/webhooks/{webhook_id}/disable", Screen::DisableWebhook),
    change("portal_rotate_webhook", "/portal/stores/{slug}/webhooks/{webhook_id}/rotate", Screen::RotateWebhook),
    change("portal_test_webhook", "/portal/stores/{slug}/webhooks/{webhook_id}/test", Screen::TestWebhook),
    change("portal_resend_deliveries", "/portal/stores/{slug}/webhooks/{webhook_id}/resend", Screen::ResendDeliveries),
    route(
        "portal_delivery",
        Method::GET,
        "/portal/stores/{slug}/webhooks/{webhook_id}/deliveries/{delivery_id}",
        Access::Page,
        Endpoint::Portal(Screen::Delivery),
    ),
    change("portal_resend_delivery", "/portal/stores/{slug}/webhooks/{webhook_id}/deliveries/{delivery_id}/resend", Screen::ResendDelivery),
    change("portal_remove_webhook", "/portal/stores/{slug}/webhooks/{webhook_id}/remove", Screen::RemoveWebhook),
    route("portal_products", Method::GET, "/portal/stores/{slug}/products", Access::Page, Endpoint::Portal(Screen::Products)),
    route("portal_create_product", Method::POST, "/portal/stores/{slug}/products", Access::Page, Endpoint::Portal(Screen::CreateProduct)),
    route("portal_product", Method::GET, "/portal/stores/{slug}/products/{product_id}", Access::Page, Endpoint::Portal(Screen::Product)),
    route(
        "portal_change_product",
        Method::POST,
        "/portal/stores/{slug}/products/{product_id}",
        Access::Page,
        Endpoint::Portal(Screen::ChangeProduct),
    ),
    route(
        "portal_import_keys",
        Method::POST,
        "/portal/stores/{slug}/products/{product_id}/import",
        Access::Page,
        Endpoint::Portal(Screen::ImportKeys),
    ),
    route("portal_market", Method::GET, "/portal/stores/{slug}/market", Access::Page, Endpoint::Portal(Screen::Market)),
    route("portal_listing", Method::GET, "/portal/stores/{slug}/market/{product_id}", Access::Page, Endpoint::Portal(Screen::Listing)),
    route(
        "portal_change_listing",
        Method::POST,
        "/portal/stores/{slug}/market/{product_id}",
        Access::Page,
        Endpoint::Portal(Screen::ChangeListing),
    ),
    route("portal_usage", Method::GET, "/portal/stores/{slug}/usage", Access::Page, Endpoint::Portal(Screen::Usage)),
    route("portal_audit_log", Method::GET, "/portal/stores/{slug}/audit-log", Access::Page, Endpoint::Portal(Screen::AuditLog)),
    route("asset", Method::GET, "/assets/{name}", Access::Page, Endpoint::Page(Page::Asset)),
];

/// The parameters of a path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params<'p> {
    /// `{slug}`
    pub slug: &'p str,
    /// `{order_id}`, `{webhook_id}`, `{code}`, or whatever else a path names
    pub id: &'p str,
    /// `{delivery_id}`
    pub delivery_id: &'p str,
}

/// Where a request leads.
#[derive(Debug)]
pub enum Found<'p> {
    /// To a route.
    Route(&'static Route, Params<'p>),
    /// To an address that takes other methods.
    OtherMethods(&'static [&'static Route]),
    /// Nowhere.
    Nothing,
}

/// Finds routes.
#[derive(Debug)]
pub struct Router {
    paths: matchit::Router<&'static [&'static Route]>,
}

impl Router {
    /// A router over [`ROUTES`].
    pub fn new() -> Self {
        let mut paths: matchit::Router<&'static [&'static Route]> = matchit::Router::new();
        for first in &ROUTES {
            if paths.at(first.path).is_ok_and(|found| found.value.iter().any(|route| route.path == first.path)) {
                continue;
            }
            let of_path: Vec<&'static Route> = ROUTES.iter().filter(|route| route.path == first.path).collect();
            // Made once, and needed as long as the process lives.
            paths.insert(first.path, Vec::leak(of_path)).expect("the table has no two paths in conflict");
        }
        Self { paths }
    }

    /// Where this leads. One trailing slash makes no difference.
    pub fn find<'p>(&self, method: &Method, path: &'p str) -> Found<'p> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let Ok(matched) = self.paths.at(path) else { return Found::Nothing };
        let wanted = if method == Method::HEAD { &Method::GET } else { method };
        match matched.value.iter().find(|route| route.method == wanted) {
            Some(route) => {
                let mut params = Params::default();
                for (name, value) in matched.params.iter() {
                    match name {
                        "slug" => params.slug = value,
                        "delivery_id" => params.delivery_id = value,
                        _ => params.id = value,
                    }
                }
                Found::Route(route, params)
            }
            None => Found::OtherMethods(matched.value),
        }
    }
}

impl Default for Router {
    fn default() -> Self {
        Self::new()
    }
}

/// The methods that these routes take, as the `Allow` header lists them.
pub fn allow(routes: &[&Route]) -> String {
    let mut methods: Vec<&str> = Vec::new();
    for route in routes {
        methods.push(route.method.as_str());
        methods.extend((route.method == Method::GET).then_some("HEAD"));
    }
    methods.push("OPTIONS");
    methods.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: Method, path: &str) -> Option<(&'static str, String, String)> {
        match Router::new().find(&method, path) {
            Found::Route(route, params) => Some((route.name, params.slug.to_owned(), params.id.to_owned())),
            _ => None,
        }
    }

    #[test]
    fn every_route_is_found_with_and_without_its_slash() {
        for route in &ROUTES {
            let path = route.path.replace("{slug}", "my-store").replace(['{', '}'], "");
            for path in [path.clone(), format!("{path}/")] {
                assert_eq!(found(route.method.clone(), &path).map(|found| found.0), Some(route.name), "{path}");
            }
            assert_eq!(found(route.method.clone(), &format!("{path}//")), None);
        }
    }

    #[test]
    fn no_method_of_a_path_and_no_name_is_there_twice() {
        for (n, route) in ROUTES.iter().enumerate() {
            let is_same = |other: &Route| other.name == route.name || other.method == route.method && other.path == route.path;
            assert!(!ROUTES[..n].iter().any(is_same), "{}", route.name);
        }
    }

    #[test]
    fn parameters_methods_and_nothing() {
        let order = found(Method::HEAD, "/api/v1/stores/s-1/orders/ORD-9/");
        assert_eq!(order, Some(("get_order", "s-1".into(), "ORD-9".into())));
        let router = Router::new();
        let Found::Route(route, params) = router.find(&Method::GET, "/api/v1/stores/s/webhooks/wh_1/deliveries/whd_2/") else { panic!() };
        assert_eq!((route.name, params), ("get_delivery", Params { slug: "s", id: "wh_1", delivery_id: "whd_2" }));
        for (path, methods) in [("orders", "GET, HEAD, OPTIONS"), ("webhooks/wh_1", "GET, HEAD, PATCH, DELETE, OPTIONS")] {
            let path = format!("/api/v1/stores/s/{path}/");
            let Found::OtherMethods(routes) = router.find(&Method::PUT, &path) else { panic!("405") };
            assert_eq!(allow(routes), methods);
        }
        for path in ["/", "", "/api", "/api/v1/stores/s", "/api/v1/stores//orders", "/api/v2/geo/subdivisions", "/API/v1/openapi.json"] {
            assert_eq!(found(Method::GET, path), None, "{path}");
        }
    }
}
