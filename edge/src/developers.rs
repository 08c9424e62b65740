//! The developer portal: how to use the API, with the reader's own store filled in when they are signed in at the partner portal. What it
//! says of endpoints comes from the OpenAPI document, what it says of errors from their table, and its snippets are run by the tests.

mod reference;
mod snippets;

use askama::Template;

use crate::answer::Answer;
use crate::edge::Edge;
use crate::error::{ApiError, Code, PageError};
use crate::pages::locale::Locale;
use crate::pages::visit::{self, Visit};
use crate::pages::{assets, problem};
use crate::portal::Partner;
use crate::service::Call;
use reference::{DOCUMENT, Document};

/// A page of the developer portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// From nothing to the first session.
    QuickStart,
    /// Every endpoint.
    Reference,
    /// Hearing of orders.
    Webhooks,
    /// WordPress, Node, Python, links, the marketplace.
    Guides,
    /// Rate limits, and all errors.
    Limits,
    /// What has changed.
    Changelog,
    /// One error.
    Error,
}

/// The navigation: topic, path, name.
const TOPICS: [(Topic, &str, &str); 6] = [
    (Topic::QuickStart, "/developers/", "Quick start"),
    (Topic::Reference, "/developers/reference/", "API reference"),
    (Topic::Webhooks, "/developers/webhooks/", "Webhooks"),
    (Topic::Guides, "/developers/guides/", "Integration guides"),
    (Topic::Limits, "/developers/limits/", "Limits and errors"),
    (Topic::Changelog, "/developers/changelog/", "Changelog"),
];

/// Who reads: whose names stand in the snippets.
#[derive(Debug)]
struct Reader {
    /// The account; empty where nobody is signed in.
    email: String,
    /// The store that is filled in: its slug.
    slug: String,
    /// All of the reader's stores: slug and name.
    stores: Vec<(String, String)>,
    /// A product of the store with a price.
    sku: String,
    currency: String,
    /// Where this installation is.
    base_url: String,
}

impl Reader {
    /// Somebody whom we do not know.
    fn stranger(edge: &Edge) -> Self {
        Self {
            email: String::new(),
            slug: snippets::STORE.to_owned(),
            stores: Vec::new(),
            sku: snippets::SKU.to_owned(),
            currency: snippets::CURRENCY.to_owned(),
            base_url: edge.knobs.public_base_url.clone(),
        }
    }

    /// Whoever is signed in at the partner portal, in the store that the address names, or their first.
    async fn of(edge: &Edge, visit: &Visit, call: &Call<'_>) -> Self {
        let stranger = Self::stranger(edge);
        let partner = match Partner::of(edge, visit, call).await {
            Ok(Some(partner)) => partner,
            Ok(None) => return stranger,
            // The pages are of use without a name in them.
            Err(error) => {
                error.log(call.request_id);
                return stranger;
            }
        };
        let mut stores: Vec<_> = partner.session.roles.iter().filter_map(|(id, _)| edge.snapshot.store_by_id(*id)).collect();
        stores.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.slug.cmp(&b.slug)));
        let email = partner.session.email.clone();
        let wanted = call.query.split('&').find_map(|pair| pair.strip_prefix("store=")).unwrap_or_default();
        let Some(store) = stores.iter().find(|store| store.slug == wanted).or(stores.first()) else { return Self { email, ..stranger } };
        let (sku, currency) =
            store.example().map_or((stranger.sku, stranger.currency), |(sku, currency)| (sku.to_owned(), currency.to_owned()));
        let slug = store.slug.clone();
        let stores = stores.iter().map(|store| (store.slug.clone(), store.name.clone())).collect();
        Self { email, slug, stores, sku, currency, base_url: stranger.base_url }
    }
}

/// What every page has.
#[derive(Debug)]
struct Frame {
    base: visit::Frame,
    topic: Topic,
    reader: Reader,
}

impl Frame {
    /// A snippet, or an example of the document, with the reader's names in it.
    fn fill(&self, text: &str) -> String {
        let Reader { slug, sku, currency, base_url, .. } = &self.reader;
        snippets::fill(text, base_url, slug, sku, currency)
    }

    fn topics(&self) -> [(Topic, &'static str, &'static str); 6] {
        TOPICS
    }

    fn styles(&self) -> [&'static str; 2] {
        [&assets::PORTAL_STYLES.path, &assets::DEVELOPERS_STYLES.path]
    }

    fn script(&self) -> &'static str {
        &assets::DEVELOPERS_SCRIPT.path
    }
}

macro_rules! pages {
    ($($(#[$doc:meta])* $name:ident = $path:literal { $($field:ident: $kind:ty),* };)+) => {
        $($(#[$doc])* #[derive(Debug, Template)]
        #[template(path = $path)]
        struct $name { frame: Frame, $($field: $kind),* })+
    };
}

pages! {
    /// From nothing to the first session.
    QuickStartPage = "developers/index.html" { document: &'static Document };
    /// Every endpoint.
    ReferencePage = "developers/reference.html" { document: &'static Document };
    /// Hearing of orders.
    WebhooksPage = "developers/webhooks.html" { document: &'static Document };
    /// Integration guides.
    GuidesPage = "developers/guides.html" {};
    /// Rate limits, and all errors.
    LimitsPage = "developers/limits.html" { document: &'static Document, codes: &'static [Code] };
    /// What has changed.
    ChangelogPage = "developers/changelog.html" {};
    /// One error.
    ErrorPage = "developers/error.html" { code: Code };
}

/// Answers a page of the developer portal.
pub async fn serve(edge: &Edge, topic: Topic, call: &Call<'_>) -> Result<Answer, ApiError> {
    let mut visit = Visit::of(edge, call.headers, call.request_id);
    // It speaks English alone, as its source does.
    visit.locale = Locale::DEFAULT;
    let answered = if topic == Topic::Error {
        let code = Code::ALL.iter().find(|code| code.as_str() == call.params.id).ok_or_else(|| ApiError::plain(Code::NotFound))?;
        let frame = Frame { base: visit.frame(), topic, reader: Reader::stranger(edge) };
        // The same for everybody.
        visit.page(&ErrorPage { frame, code: *code })
    } else {
        let frame = Frame { base: visit.frame(), topic, reader: Reader::of(edge, &visit, call).await };
        show(&visit, frame)
    };
    Ok(answered.unwrap_or_else(|error| problem::answer(&visit, error)))
}

fn show(visit: &Visit, frame: Frame) -> Result<Answer, PageError> {
    let document: &'static Document = &DOCUMENT;
    match frame.topic {
        Topic::QuickStart => visit.page(&QuickStartPage { frame, document }),
        Topic::Reference => visit.page(&ReferencePage { frame, document }),
        Topic::Webhooks => visit.page(&WebhooksPage { frame, document }),
        Topic::Guides => visit.page(&GuidesPage { frame }),
        Topic::Changelog => visit.page(&ChangelogPage { frame }),
        Topic::Limits | Topic::Error => visit.page(&LimitsPage { frame, document, codes: Code::ALL }),
    }
}
