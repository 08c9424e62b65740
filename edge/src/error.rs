//! The one place that knows status codes and what callers are told. Handlers say what is wrong in the platform's words; here it becomes
//! a problem document (RFC 9457) with a page of its own. Nothing internal ever leaves: causes go to the log, under the request id.

use common::cart::Sku;
use common::fulfill::Shortage;
use common::json::{FieldError, FieldErrors};
use common::order::OrderStatus;
use common::trace::Trace;
use http::StatusCode;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::Serialize;
use storage::StorageError;

use crate::answer::Answer;
use crate::service::Ids;

/// Characters of an id that is told back: more than any good one has.
const ID_SHOWN_MAX: usize = 44;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $status:ident, $code:literal, $title:literal, $advice:literal;)+) => {
        /// Every code that a problem document can carry. `Title` and advice are what the documentation page of the code says.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code { $($(#[doc = $doc])+ $variant,)+ }

        impl Code {
            /// All of them, by status.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)+];

            /// The HTTP status.
            pub fn status(self) -> StatusCode {
                match self { $(Code::$variant => StatusCode::$status,)+ }
            }

            /// The stable name.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $code,)+ }
            }

            /// A short sentence, the same for every occurrence.
            pub fn title(self) -> &'static str {
                match self { $(Code::$variant => $title,)+ }
            }

            /// What to do about it.
            pub fn advice(self) -> &'static str {
                match self { $(Code::$variant => $advice,)+ }
            }
        }
    };
}

codes! {
    /// The body, a parameter or a header is not as documented.
    InvalidRequest = BAD_REQUEST, "invalid_request", "The request is not valid",
        "Look at errors: each entry names a field and what would be right. Change the request before sending it again.";
    /// The token would not fit into a URL.
    SessionTooLarge = BAD_REQUEST, "session_too_large", "The checkout session is too large",
        "The session's token may have 4,096 characters. Send fewer lines or less metadata.";
    /// A SKU without a price in the currency.
    PriceNotAvailable = BAD_REQUEST, "price_not_available", "No price in this currency",
        "Use a currency in which the product has a price, or add a price to the product.";
    /// The store may not fulfill.
    StoreNotLicensing = BAD_REQUEST, "store_not_licensing", "The store is not enabled for licensing",
        "Only stores whose payments are handled elsewhere may fulfill. Ask for licensing to be turned on for this store.";
    /// No key.
    MissingApiKey = UNAUTHORIZED, "missing_api_key", "An API key is needed",
        "Send exactly one header Authorization: Bearer sk_live_... with a Store API key.";
    /// A key that opens nothing here.
    InvalidApiKey = UNAUTHORIZED, "invalid_api_key", "The API key is not valid",
        "The key is mistyped, unknown, revoked, expired or belongs to another store. Check it against the list in the Partner Portal.";
    /// A key for something else.
    InsufficientScope = UNAUTHORIZED, "insufficient_scope", "The API key may not do this",
        "The key was made for other endpoints. Use one with the scope that detail names.";
    /// No such path.
    NotFound = NOT_FOUND, "not_found", "There is nothing at this address",
        "Check the path against the API reference.";
    /// No such store.
    StoreNotFound = NOT_FOUND, "store_not_found", "The store does not exist",
        "Check the store's slug in the path.";
    /// No such product.
    ProductNotFound = NOT_FOUND, "product_not_found", "The product does not exist",
        "Check the SKU that detail names against the store's products.";
    /// No such order.
    OrderNotFound = NOT_FOUND, "order_not_found", "The order does not exist",
        "Check the order id, and that the key has the mode, live or test, in which the order was made.";
    /// No such endpoint.
    WebhookNotFound = NOT_FOUND, "webhook_not_found", "The webhook endpoint does not exist",
        "Check the endpoint's id, and that the key has the mode, live or test, in which the endpoint was made.";
    /// No such delivery.
    DeliveryNotFound = NOT_FOUND, "delivery_not_found", "The delivery does not exist",
        "Check the delivery's id against the list of the endpoint's deliveries. Deliveries are forgotten some time after they are settled.";
    /// No such country.
    CountryNotFound = NOT_FOUND, "country_not_found", "The country does not exist",
        "Use an ISO 3166-1 alpha-2 code such as US.";
    /// No such subdivision.
    SubdivisionNotFound = NOT_FOUND, "subdivision_not_found", "The subdivision does not exist",
        "Use a code that the subdivisions endpoint lists for the country.";
    /// Another method.
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method_not_allowed", "The address does not take this method",
        "Use one of the methods in the Allow header.";
    /// The body came too slowly.
    RequestTimeout = REQUEST_TIMEOUT, "request_timeout", "The request took too long to arrive",
        "Send the whole body at once, on a connection that is quick enough for it.";
    /// The reference is taken.
    ExternalReferenceConflict = CONFLICT, "external_reference_conflict", "The external reference belongs to another order",
        "An order with this reference exists and has other content. Use a new reference for a new order, or send the original content to read it again.";
    /// The idempotency key is taken.
    IdempotencyConflict = CONFLICT, "idempotency_key_conflict", "The Idempotency-Key was used for another request",
        "Use a new key for every new request, and the same key only for the same content.";
    /// Too few license keys.
    OutOfStock = CONFLICT, "out_of_stock", "Not enough license keys in stock",
        "Nothing was taken and the reference is still free. Import license keys, or ask for fewer, and send the request again.";
    /// Nothing to revoke.
    OrderNotRevocable = CONFLICT, "order_not_revocable", "The order cannot be revoked",
        "Only orders whose license keys are with the customer can be revoked.";
    /// No room for another endpoint.
    WebhookLimitReached = CONFLICT, "webhook_limit_reached", "The store has as many webhook endpoints as it may have",
        "A store may have five in each mode, live and test. Remove one, or change one instead.";
    /// Too much.
    BodyTooLarge = PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large",
        "A body may have 64 KiB.";
    /// Too long.
    UriTooLong = URI_TOO_LONG, "uri_too_long", "The address is too long",
        "Shorten the path or the query.";
    /// Not JSON.
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The body is not JSON",
        "Send Content-Type: application/json, and no Content-Encoding.";
    /// Too many.
    RateLimited = TOO_MANY_REQUESTS, "rate_limited", "Too many requests",
        "Wait for as many seconds as Retry-After says. X-RateLimit-Remaining tells in every answer how many requests are left.";
    /// Too many fields.
    HeadTooLarge = REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", "The header is too large",
        "Send fewer or shorter header fields.";
    /// Our fault.
    Internal = INTERNAL_SERVER_ERROR, "internal_error", "Something went wrong on our side",
        "It is not known whether the request had an effect. Sending the same request again is safe. Tell us the request id if it goes on.";
    /// Not now.
    Unavailable = SERVICE_UNAVAILABLE, "unavailable", "The service cannot do this right now",
        "It is not known whether the request had an effect. Send the same request again after as many seconds as Retry-After says: that is always safe.";
}

/// What goes wrong with a request, as its caller is told.
#[derive(Debug)]
pub struct ApiError {
    code: Code,
    detail: String,
    errors: Vec<FieldError>,
    shortages: Vec<Shortage>,
    allow: Option<String>,
    /// What the caller must not see and the log must.
    cause: Option<Box<StorageError>>,
}

impl ApiError {
    /// An error with a sentence of its own. The sentence is public: it must say nothing that the caller may not know.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), shortages: Vec::new(), allow: None, cause: None }
    }

    /// An error whose general advice says all there is.
    pub fn plain(code: Code) -> Self {
        Self::new(code, code.advice())
    }

    /// One field that is not as it should be.
    pub fn field(field: &str, message: impl Into<String>) -> Self {
        FieldErrors::one(field, message).into()
    }

    /// The method is not one of these.
    pub fn method_not_allowed(allow: String) -> Self {
        let detail = format!("This address takes {allow}.");
        Self { allow: Some(allow), ..Self::new(Code::MethodNotAllowed, detail) }
    }

    /// A SKU that the store does not sell.
    pub fn product_not_found(sku: &Sku) -> Self {
        Self::new(Code::ProductNotFound, format!("The store has no product with the SKU {sku}."))
    }

    /// An order that is not there, or not in this store and mode.
    pub fn order_not_found(id: &str) -> Self {
        Self::new(Code::OrderNotFound, format!("The store has no order {} in this mode.", shown(id)))
    }

    /// A webhook endpoint that is not there, or not in this store and mode.
    pub fn webhook_not_found(id: &str) -> Self {
        Self::new(Code::WebhookNotFound, format!("The store has no webhook endpoint {} in this mode.", shown(id)))
    }

    /// A delivery that is not there, or not of this endpoint.
    pub fn delivery_not_found(id: &str) -> Self {
        Self::new(Code::DeliveryNotFound, format!("The webhook endpoint has no delivery {}.", shown(id)))
    }

    /// The same; where it is not known whether the request had an effect, this sentence says what to do about it.
    pub fn or_unknown(self, detail: &str) -> Self {
        match self.code {
            Code::Unavailable | Code::Internal => Self { detail: detail.to_owned(), ..self },
            _ => self,
        }
    }

    /// Too few license keys.
    pub fn out_of_stock(shortages: Vec<Shortage>) -> Self {
        let short = shortages.iter().map(|short| format!("{} ({} of {})", short.sku, short.available, short.requested));
        let detail = format!("Not enough license keys in stock: {}.", short.collect::<Vec<_>>().join(", "));
        Self { shortages, ..Self::new(Code::OutOfStock, detail) }
    }

    /// An order that has nothing to take back.
    pub fn not_revocable(status: OrderStatus) -> Self {
        Self::new(Code::OrderNotRevocable, format!("The order is {status}."))
    }

    /// The code, for metrics and logs.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The answer: a problem document, and the headers that belong to its status. The cause, if there is one, is logged here and nowhere
    /// else, under the request's id.
    pub fn into_answer(self, base_url: &str, ids: Ids<'_>) -> Answer {
        let (request_id, trace_id) = (ids.request_id, ids.trace.map(Trace::id));
        match &self.cause {
            Some(cause) if self.code == Code::Internal => tracing::error!(request_id, trace_id, error = %cause, "a request failed"),
            Some(cause) => tracing::warn!(request_id, trace_id, error = %cause, code = self.code.as_str(), "a request could not be served"),
            None => {}
        }
        let problem = Problem {
            r#type: format!("{base_url}/developers/errors/{}/", self.code.as_str()),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: &self.detail,
            code: self.code.as_str(),
            request_id,
            trace_id,
            errors: &self.errors,
            shortages: &self.shortages,
        };
        let body = serde_json::to_vec(&problem).expect("strings and numbers serialize");
        let mut answer = Answer::new(self.code.status(), body);
        answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self.code.status() {
            StatusCode::UNAUTHORIZED => {
                answer.headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                answer.headers.insert(RETRY_AFTER, HeaderValue::from_static("2"));
            }
            _ => {}
        }
        if let Some(allow) = self.allow.and_then(|allow| HeaderValue::try_from(allow).ok()) {
            answer.headers.insert(ALLOW, allow);
        }
        answer
    }
}

/// An id as a caller wrote it, as far as it may be told back.
fn shown(id: &str) -> String {
    id.chars().filter(|c| c.is_ascii_graphic()).take(ID_SHOWN_MAX).collect()
}

#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(skip_serializing_if = "<[Shortage]>::is_empty")]
    shortages: &'a [Shortage],
}

impl From<FieldErrors> for ApiError {
    fn from(errors: FieldErrors) -> Self {
        Self { errors: errors.into_vec(), ..Self::plain(Code::InvalidRequest) }
    }
}

/// The caller learns only whether it may try again.
impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        let code = if error.is_unavailable() { Code::Unavailable } else { Code::Internal };
        Self { cause: Some(Box::new(error)), ..Self::plain(code) }
    }
}

/// What can be wrong with a visit to a page. The words for it are the pages' own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageProblem {
    /// Nothing is there, or nothing that this browser may see.
    NotFound,
    /// The checkout session is over.
    Expired,
    /// No session token of ours, or one of another store.
    BadToken,
    /// The session has become an order, in another browser.
    Used,
    /// The shop's reference has become an order already.
    ReferenceUsed,
    /// A link into the cart that is not as documented.
    BadLink,
    /// A form that did not come from a page of this browser.
    Form,
    /// What the partner's role in the store does not allow.
    Role,
    /// A form that none of our pages sends.
    BadRequest,
    /// The address has used up its requests.
    TooMany,
    /// Nobody is there to take the payment.
    NotPayable,
    /// A dependency is away.
    Unavailable,
    /// Our fault.
    Internal,
}

impl PageProblem {
    /// All of them.
    pub const ALL: [PageProblem; 13] = [
        PageProblem::NotFound,
        PageProblem::Expired,
        PageProblem::BadToken,
        PageProblem::Used,
        PageProblem::ReferenceUsed,
        PageProblem::BadLink,
        PageProblem::Form,
        PageProblem::Role,
        PageProblem::BadRequest,
        PageProblem::TooMany,
        PageProblem::NotPayable,
        PageProblem::Unavailable,
        PageProblem::Internal,
    ];

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        match self {
            PageProblem::NotFound => StatusCode::NOT_FOUND,
            PageProblem::Expired | PageProblem::BadToken | PageProblem::Used => StatusCode::GONE,
            PageProblem::ReferenceUsed => StatusCode::CONFLICT,
            PageProblem::BadLink | PageProblem::BadRequest => StatusCode::BAD_REQUEST,
            PageProblem::Form | PageProblem::Role => StatusCode::FORBIDDEN,
            PageProblem::TooMany => StatusCode::TOO_MANY_REQUESTS,
            PageProblem::NotPayable | PageProblem::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            PageProblem::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A problem, and the way on.
#[derive(Debug)]
pub struct PageError {
    /// What is wrong.
    pub problem: PageProblem,
    /// Where the shop wants its customer to go back to.
    pub back: Option<String>,
    /// Sentences for whoever made the link.
    pub details: Vec<String>,
    /// What the customer must not see and the log must.
    cause: Option<Box<StorageError>>,
}

impl PageError {
    /// A problem whose general words say all there is.
    pub fn new(problem: PageProblem) -> Self {
        Self { problem, back: None, details: Vec::new(), cause: None }
    }

    /// A link that is not as documented, with all that is wrong with it.
    pub fn bad_link(errors: FieldErrors) -> Self {
        let details = errors.into_vec().into_iter().map(|error| format!("{} {}", error.field, error.message)).collect();
        Self { details, ..Self::new(PageProblem::BadLink) }
    }

    /// The same with a way back to the shop, where there is one.
    pub fn with_back(self, back: Option<String>) -> Self {
        Self { back, ..self }
    }

    /// Writes the cause to the log, if there is one.
    pub fn log(&self, request_id: &str) {
        match &self.cause {
            Some(cause) if self.problem == PageProblem::Internal => tracing::error!(request_id, error = %cause, "a page failed"),
            Some(cause) => tracing::warn!(request_id, error = %cause, "a page could not be served"),
            None => {}
        }
    }
}

impl From<StorageError> for PageError {
    fn from(error: StorageError) -> Self {
        let problem = if error.is_unavailable() { PageProblem::Unavailable } else { PageProblem::Internal };
        Self { cause: Some(Box::new(error)), ..Self::new(problem) }
    }
}

/// What went wrong outside of the page's own handler.
impl From<ApiError> for PageError {
    fn from(error: ApiError) -> Self {
        let problem = match error.code.status() {
            StatusCode::NOT_FOUND => PageProblem::NotFound,
            StatusCode::TOO_MANY_REQUESTS => PageProblem::TooMany,
            StatusCode::SERVICE_UNAVAILABLE => PageProblem::Unavailable,
            StatusCode::INTERNAL_SERVER_ERROR => PageProblem::Internal,
            _ => PageProblem::BadRequest,
        };
        Self { cause: error.cause, ..Self::new(problem) }
    }
}
