//! Pages that people read: the hosted checkout and the marketplace. Every page is a template with a struct; a handler
//! reads, decides and fills it. Whatever goes wrong is a page too.

pub mod assets;
pub mod cart;
pub mod check;
pub mod details;
pub mod form;
pub mod locale;
pub mod market;
pub mod payment;
pub mod problem;
pub mod receipt;
pub mod texts;
pub mod visit;

use crate::answer::Answer;
use crate::edge::Edge;
use crate::error::ApiError;
use crate::service::Call;
use visit::Visit;

/// What answers a page's route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// `pages/assets.rs`
    Asset,
    /// `pages/cart.rs`
    OpenCart,
    /// `pages/cart.rs`
    Cart,
    /// `pages/cart.rs`
    ChangeCart,
    /// `pages/details.rs`
    Details,
    /// `pages/details.rs`
    SaveDetails,
    /// `pages/check.rs`
    Check,
    /// `pages/check.rs`
    PlaceOrder,
    /// `pages/payment.rs`
    Payment,
    /// `pages/payment.rs`
    TestPayment,
    /// `pages/receipt.rs`
    Receipt,
    /// `pages/market.rs`
    Market,
    /// `pages/market.rs`
    AddOnMarket,
    /// `pages/market.rs`
    MarketCart,
}

/// Whether pages live below this path, so that what is not there is told by one.
pub fn is_page(path: &str) -> bool {
    ["/s/", "/market", "/portal", "/developers"].iter().any(|prefix| path.starts_with(prefix))
}

/// Answers a page's route.
pub async fn serve(edge: &Edge, page: Page, call: &Call<'_>) -> Result<Answer, ApiError> {
    let mut visit = Visit::of(edge, call.headers, call.request_id);
    let answered = match page {
        Page::Asset => return assets::get(call),
        Page::OpenCart => cart::open(edge, &mut visit, call).await,
        Page::Cart => cart::show(edge, &mut visit, call).await,
        Page::ChangeCart => cart::change(edge, &mut visit, call).await,
        Page::Details => details::show(edge, &mut visit, call).await,
        Page::SaveDetails => details::save(edge, &mut visit, call).await,
        Page::Check => check::show(edge, &mut visit, call).await,
        Page::PlaceOrder => check::place(edge, &mut visit, call).await,
        Page::Payment => payment::show(edge, &mut visit, call).await,
        Page::TestPayment => payment::test(edge, &mut visit, call).await,
        Page::Receipt => receipt::show(edge, &mut visit, call).await,
        Page::Market => market::show(edge, &visit, call).await,
        Page::AddOnMarket => market::add(edge, &visit, call).await,
        Page::MarketCart => market::show_cart(edge, &visit).await,
    };
    Ok(answered.unwrap_or_else(|error| problem::answer(&visit, error)))
}
