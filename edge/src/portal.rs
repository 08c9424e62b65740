//! The portal, where partners run their stores. Who may do what stands in one table, `Screen::needs`, and is looked at in one place,
//! before a page's own handler runs: a store that is not the account's is as if it were not there. Whatever waits for the database does so
//! on a pool of the portal's own.

mod audit_log;
mod delivery;
mod frame;
mod keys;
mod market;
mod order;
mod orders;
mod partner;
mod passwords;
mod payments;
mod product;
mod products;
mod sign_in;
mod stock;
mod stores;
mod throttle;
mod usage;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use common::api_key::ApiKeyHasher;
use common::license::LicenseDigester;
use common::partner::Role;
use config::Settings;
use storage::pg::audit_log::Actor;
use storage::revocations::Revoker;
use storage::{Pg, StorageError};

use crate::answer::Answer;
use crate::edge::Edge;
use crate::error::{ApiError, PageError, PageProblem};
use crate::pages::form::Form;
use crate::pages::locale::Locale;
use crate::pages::visit::Visit;
use crate::service::Call;
use crate::snapshot::Store;
pub(crate) use partner::Partner;
use passwords::Passwords;
use product::Done;
use throttle::Throttle;

const HOME: &str = "/portal/";
const SIGN_IN: &str = "/portal/sign-in/";

/// What answers a route of the portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    /// `portal/sign_in.rs`
    SignIn,
    /// `portal/sign_in.rs`
    SubmitSignIn,
    /// `portal/sign_in.rs`
    Password,
    /// `portal/sign_in.rs`
    SetPassword,
    /// `portal/sign_in.rs`
    SignOut,
    /// `portal/sign_in.rs`
    SignOutEverywhere,
    /// `portal/stores.rs`
    Stores,
    /// `portal/keys.rs`
    Keys,
    /// `portal/keys.rs`
    CreateKey,
    /// `portal/keys.rs`
    RollKey,
    /// `portal/keys.rs`
    RevokeKey,
    /// `portal/orders.rs`
    Orders,
    /// `portal/orders.rs`
    ExportOrders,
    /// `portal/order.rs`
    Order,
    /// `portal/order.rs`
    RevokeOrder,
    /// `portal/payments.rs`
    Payments,
    /// `portal/payments.rs`
    SetPolicy,
    /// `portal/payments.rs`
    SetTax,
    /// `portal/payments.rs`
    SetReturnHosts,
    /// `portal/payments.rs`
    CreateWebhook,
    /// `portal/webhook.rs`
    Webhook,
    /// `portal/webhook.rs`
    ChangeWebhook,
    /// `portal/webhook.rs`
    EnableWebhook,
    /// `portal/webhook.rs`
    DisableWebhook,
    /// `portal/webhook.rs`
    RotateWebhook,
    /// `portal/webhook.rs`
    RemoveWebhook,
    /// `portal/webhook.rs`
    TestWebhook,
    /// `portal/webhook.rs`
    ResendDeliveries,
    /// `portal/delivery.rs`
    Delivery,
    /// `portal/delivery.rs`
    ResendDelivery,
    /// `portal/audit_log.rs`
    AuditLog,
    /// `portal/products.rs`
    Products,
    /// `portal/products.rs`
    CreateProduct,
    /// `portal/product.rs`
    Product,
    /// `portal/product.rs`
    ChangeProduct,
    /// `portal/stock.rs`
    ImportKeys,
    /// `portal/market.rs`
    Market,
    /// `portal/market.rs`
    Listing,
    /// `portal/market.rs`
    ChangeListing,
    /// `portal/usage.rs`
    Usage,
}

/// Who may come to a screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Anybody.
    Nothing,
    /// Whoever is signed in.
    Account,
    /// Whoever has this role, or a higher one, in the store of the path.
    Store(Role),
}

impl Screen {
    fn needs(self) -> Needs {
        match self {
            Screen::SignIn | Screen::SubmitSignIn | Screen::Password | Screen::SetPassword => Needs::Nothing,
            Screen::SignOut | Screen::SignOutEverywhere | Screen::Stores => Needs::Account,
            Screen::Keys
            | Screen::Orders
            | Screen::ExportOrders
            | Screen::Order
            | Screen::Products
            | Screen::Product
            | Screen::AuditLog
            | Screen::Payments
            | Screen::Webhook
            | Screen::Delivery
            | Screen::Market
            | Screen::Listing
            | Screen::Usage => Needs::Store(Role::ReadOnly),
            Screen::CreateKey
            | Screen::RollKey
            | Screen::RevokeKey
            | Screen::RevokeOrder
            | Screen::CreateProduct
            | Screen::ChangeProduct
            | Screen::ImportKeys
            | Screen::ChangeListing
            | Screen::CreateWebhook
            | Screen::ChangeWebhook
            | Screen::EnableWebhook
            | Screen::DisableWebhook
            | Screen::RotateWebhook
            | Screen::RemoveWebhook
            | Screen::TestWebhook
            | Screen::ResendDeliveries
            | Screen::ResendDelivery => Needs::Store(Role::Developer),
            // These are about money, and who can lead it away.
            Screen::SetPolicy | Screen::SetTax | Screen::SetReturnHosts => Needs::Store(Role::Owner),
        }
    }

    /// Whether a form sends it, whose token must be the session's: whatever is not only looked at.
    fn is_form(self) -> bool {
        let is_looked_at = self == Screen::Stores || self.needs() == Needs::Nothing || self.needs() == Needs::Store(Role::ReadOnly);
        !is_looked_at
    }
}

impl Screen {
    /// The field of its form that holds a whole text; empty where none does.
    fn text_field(self) -> &'static str {
        match self {
            Screen::ImportKeys => "keys",
            Screen::ChangeListing => "text",
            Screen::SetReturnHosts => "hosts",
            _ => "",
        }
    }
}

/// What the portal has for itself.
pub struct Portal {
    pg: Pg,
    passwords: Passwords,
    throttle: Throttle,
    hasher: ApiKeyHasher,
    revoker: Revoker,
    digester: LicenseDigester,
    session_idle: Duration,
    session_lifetime: Duration,
}

impl Portal {
    /// The portal of an edge whose own pool is `pg`.
    pub fn new(settings: &Settings, pg: &Pg, hasher: ApiKeyHasher, revoker: Revoker) -> Result<Self, StorageError> {
        let of_portal = config::Postgres { connections_max: settings.portal.postgres_connections_max, ..settings.postgres.clone() };
        Ok(Self {
            pg: pg.apart(&of_portal, "edge portal")?,
            passwords: Passwords::new(settings.portal.password_checks_max),
            throttle: Throttle::default(),
            hasher,
            revoker,
            digester: LicenseDigester::new(&settings.secrets.license_digest),
            session_idle: settings.portal.session_idle,
            session_lifetime: settings.portal.session_lifetime,
        })
    }
}

/// Somebody who may do what they ask for, in the store that they ask for.
struct Visitor<'v> {
    visit: &'v Visit,
    partner: Partner,
    store: Arc<Store>,
    role: Role,
    /// Empty where no form sent it.
    form: Form,
}

impl Visitor<'_> {
    /// Whom the audit log names.
    fn actor(&self) -> Actor<'_> {
        Actor::Account(&self.partner.session.email)
    }
}

/// Answers a route of the portal.
pub async fn serve(edge: &Edge, screen: Screen, call: &Call<'_>) -> Result<Answer, ApiError> {
    let mut visit = Visit::of(edge, call.headers, call.request_id);
    // The portal speaks English alone.
    visit.locale = Locale::DEFAULT;
    let answered = match screen {
        Screen::SignIn => sign_in::show(edge, &visit, call).await,
        Screen::SubmitSignIn => sign_in::submit(edge, &visit, call).await,
        Screen::Password => sign_in::show_password(edge, &visit, call).await,
        Screen::SetPassword => sign_in::set_password(edge, &visit, call).await,
        _ => signed_in(edge, screen, &visit, call).await,
    };
    Ok(answered.unwrap_or_else(|error| frame::problem(&visit, error)))
}

async fn signed_in(edge: &Edge, screen: Screen, visit: &Visit, call: &Call<'_>) -> Result<Answer, PageError> {
    let Some(partner) = Partner::of(edge, visit, call).await? else { return visit.see_other(SIGN_IN) };
    let form = if screen.is_form() { partner.form(call, screen.text_field())? } else { Form::default() };
    let visitor = match screen.needs() {
        Needs::Store(needed) => {
            let absent = || PageError::new(PageProblem::NotFound);
            let store = edge.snapshot.store(call.params.slug).ok_or_else(absent)?;
            let role = partner.role(store.id).ok_or_else(absent)?;
            if role < needed {
                return Err(PageError::new(PageProblem::Role));
            }
            Visitor { visit, partner, store, role, form }
        }
        Needs::Nothing | Needs::Account => {
            return match screen {
                Screen::SignOut => sign_in::sign_out(edge, visit, &partner, false).await,
                Screen::SignOutEverywhere => sign_in::sign_out(edge, visit, &partner, true).await,
                _ => stores::show(edge, visit, &partner),
            };
        }
    };
    match screen {
        Screen::CreateKey => keys::create(edge, &visitor).await,
        Screen::RollKey => keys::roll(edge, &visitor, call).await,
        Screen::RevokeKey => keys::revoke(edge, &visitor, call).await,
        Screen::Orders => orders::show(edge, &visitor, call).await,
        Screen::ExportOrders => orders::export(edge, &visitor, call).await,
        Screen::Order => order::show(edge, &visitor, call, None).await,
        Screen::RevokeOrder => order::revoke(edge, &visitor, call).await,
        Screen::Payments => payments::show(edge, &visitor, None, None).await,
        Screen::SetPolicy => payments::set_policy(edge, &visitor).await,
        Screen::SetTax => payments::set_tax(edge, &visitor).await,
        Screen::SetReturnHosts => payments::set_return_hosts(edge, &visitor).await,
        Screen::CreateWebhook => payments::create_webhook(edge, &visitor).await,
        Screen::Webhook => webhook::show(edge, &visitor, call).await,
        Screen::ChangeWebhook => webhook::change(edge, &visitor, call).await,
        Screen::EnableWebhook => webhook::enable(edge, &visitor, call, true).await,
        Screen::DisableWebhook => webhook::enable(edge, &visitor, call, false).await,
        Screen::RotateWebhook => webhook::rotate(edge, &visitor, call).await,
        Screen::RemoveWebhook => webhook::remove(edge, &visitor, call).await,
        Screen::TestWebhook => webhook::test(edge, &visitor, call).await,
        Screen::ResendDeliveries => webhook::resend(edge, &visitor, call).await,
        Screen::Delivery => delivery::show(edge, &visitor, call, None).await,
        Screen::ResendDelivery => delivery::resend(edge, &visitor, call).await,
        Screen::AuditLog => audit_log::show(edge, &visitor, call).await,
        Screen::Products => products::show(edge, &visitor, call, None).await,
        Screen::CreateProduct => products::create(edge, &visitor, call).await,
        Screen::Product => product::show(edge, &visitor, call, Done::default()).await,
        Screen::ChangeProduct => product::change(edge, &visitor, call).await,
        Screen::ImportKeys => stock::import(edge, &visitor, call).await,
        Screen::Market => market::show(edge, &visitor, call).await,
        Screen::Listing => market::show_listing(edge, &visitor, call, None).await,
        Screen::ChangeListing => market::change(edge, &visitor, call).await,
        Screen::Usage => usage::show(edge, &visitor, call).await,
        _ => keys::show(edge, &visitor, None, None).await,
    }
}
