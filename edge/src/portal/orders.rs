//! A store's orders: a page of them at a time, found by whatever is known of one, and as a file for a spreadsheet. License keys are in
//! neither: they are their buyers'.

use askama::Template;
use common::clock::{day_begin_ms, rfc3339, utc_date};
use common::ids::OrderId;
use common::mode::Mode;
use common::money::{Currency, Minor};
use common::order::{Order, OrderStatus};
use http::StatusCode;
use storage::pg::orders::search::{Search, search};

use super::Visitor;
use super::frame::{Frame, Note, minute_of_ms};
use crate::answer::Answer;
use crate::api::database::in_time_of;
use crate::edge::Edge;
use crate::error::{PageError, PageProblem};
use crate::pages::receipt;
use crate::pages::visit::Sources;
use crate::query::Query;
use crate::service::Call;

/// Orders on a page.
const PAGE: i64 = 50;
/// Orders in a file. They are all in memory at once, some hundred bytes each.
const EXPORT_MAX: i64 = 20_000;
/// What is searched for: an e-mail address, a reference or an id, none of which is longer.
const TEXT_MAX_CHARS: usize = 255;
const DAY_MS: u64 = 86_400_000;

/// An order in the list.
#[derive(Debug)]
struct Listed {
    id: String,
    status: OrderStatus,
    email: String,
    reference: String,
    total: String,
    created: String,
}

/// The page.
#[derive(Debug, Template)]
#[template(path = "portal/orders.html")]
struct OrdersPage {
    frame: Frame,
    note: Option<Note>,
    mode: Mode,
    text: String,
    status: Option<OrderStatus>,
    statuses: [OrderStatus; 10],
    /// The days of the file's form.
    from: String,
    to: String,
    orders: Vec<Listed>,
    /// Whether older ones stand behind the page's first.
    is_later: bool,
    /// The way to the next page, if there is one.
    next: Option<String>,
    /// The way to the first page of what is looked for.
    first: String,
    export_max: i64,
}

/// What a query asks for.
struct Asked {
    mode: Mode,
    text: String,
    status: Option<OrderStatus>,
    after: Option<OrderId>,
    from: String,
    to: String,
}

impl Asked {
    fn of(call: &Call<'_>) -> Result<Self, PageError> {
        let bad = || PageError::new(PageProblem::BadRequest);
        let query = Query::parse(call.query, &["mode", "q", "status", "after", "from", "to"])?;
        let said = |name| query.get(name).map(str::trim).filter(|text| !text.is_empty());
        let text = said("q").unwrap_or_default().to_owned();
        if text.chars().count() > TEXT_MAX_CHARS || text.chars().any(char::is_control) {
            return Err(bad());
        }
        let day = |name| said(name).unwrap_or_default().chars().take(10).collect();
        Ok(Self {
            mode: said("mode").map_or(Ok(Mode::Live), str::parse).map_err(|_| bad())?,
            status: said("status").map(str::parse).transpose().map_err(|_| bad())?,
            after: said("after").map(OrderId::parse).transpose().map_err(|_| bad())?,
            text,
            from: day("from"),
            to: day("to"),
        })
    }

    fn search<'s>(&'s self, store_id: i64) -> Search<'s> {
        let text = Some(self.text.as_str()).filter(|text| !text.is_empty());
        Search { store_id, mode: self.mode, text, status: self.status, starting_after: self.after.as_ref(), since: None }
    }

    /// The address of a page of what is asked for.
    fn address(&self, slug: &str, after: Option<&str>) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("mode", self.mode.as_str());
        let status = self.status.map(OrderStatus::as_str);
        for (name, value) in [("q", Some(self.text.as_str()).filter(|text| !text.is_empty())), ("status", status), ("after", after)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        format!("/portal/stores/{slug}/orders/?{}", query.finish())
    }
}

/// `GET /portal/stores/{slug}/orders/?mode=&q=&status=&after=`
pub async fn show(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>) -> Result<Answer, PageError> {
    let asked = Asked::of(call)?;
    list(edge, visitor, asked, None).await
}

async fn list(edge: &Edge, visitor: &Visitor<'_>, asked: Asked, note: Option<Note>) -> Result<Answer, PageError> {
    let pg = &edge.portal.pg;
    let wanted = asked.search(visitor.store.id);
    let found = in_time_of(pg, async { Ok::<_, PageError>(search(&*pg.client().await?, &wanted, PAGE + 1).await?) });
    let mut found = found.await?;
    let has_more = found.len() as i64 > PAGE;
    found.truncate(PAGE as usize);
    let frame = Frame::of(edge, visitor.visit, &visitor.partner).at(&visitor.store, "orders");
    let last = found.last().filter(|_| has_more).map(|order| order.id.as_str().to_owned());
    let slug = visitor.store.slug.as_str();
    let today = day(edge.clock.now().unix_ms);
    let status = if note.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let page = OrdersPage {
        note,
        orders: found.into_iter().map(|order| listed(&frame, order)).collect(),
        next: last.map(|last| asked.address(slug, Some(&last))),
        first: asked.address(slug, None),
        is_later: asked.after.is_some(),
        mode: asked.mode,
        status: asked.status,
        statuses: OrderStatus::ALL,
        from: if asked.from.is_empty() { format!("{}01", &today[..8]) } else { asked.from },
        to: if asked.to.is_empty() { today } else { asked.to },
        text: asked.text,
        export_max: EXPORT_MAX,
        frame,
    };
    visitor.visit.page_with(status, &page, Sources::Own)
}

fn listed(frame: &Frame, order: Order) -> Listed {
    Listed {
        total: receipt::total(&frame.base, &order),
        id: order.id.as_str().to_owned(),
        status: order.status,
        reference: order.external_reference.unwrap_or_default(),
        email: order.customer_email,
        created: minute_of_ms(order.created_at_ms),
    }
}

/// `2026-11-23`
fn day(unix_ms: u64) -> String {
    utc_date(unix_ms).to_string()
}

/// `GET /portal/stores/{slug}/orders/export/?mode=&q=&status=&from=&to=`: all of them, or a page that says that they are too many. A file
/// that ends somewhere would be taken for the whole.
pub async fn export(edge: &Edge, visitor: &Visitor<'_>, call: &Call<'_>) -> Result<Answer, PageError> {
    let asked = Asked { after: None, ..Asked::of(call)? };
    let note = |text: String| Some(Note { tone: "wrong", text });
    let days = day_begin_ms(&asked.from).zip(day_begin_ms(&asked.to)).filter(|(from, to)| from <= to);
    let Some((from_ms, to_ms)) = days else {
        return list(edge, visitor, asked, note("Choose a first and a last day, such as 2026-11-01 and 2026-11-30.".to_owned())).await;
    };
    // An id begins with its time.
    let (since, end) = (OrderId::new(from_ms, 0), OrderId::new(to_ms + DAY_MS, 0));
    let wanted = Search { since: Some(&since), starting_after: Some(&end), ..asked.search(visitor.store.id) };
    let pg = &edge.portal.pg;
    let found = in_time_of(pg, async { Ok::<_, PageError>(search(&*pg.client().await?, &wanted, EXPORT_MAX + 1).await?) }).await?;
    if found.len() as i64 > EXPORT_MAX {
        let text = format!("There are more than {EXPORT_MAX} orders in these days. Choose fewer days, and keep a file of each part.");
        return list(edge, visitor, asked, note(text)).await;
    }
    // Some milliseconds of work that no other request should wait for.
    let body = tokio::task::spawn_blocking(move || csv(&found)).await.map_err(|_| PageError::new(PageProblem::Internal))?;
    let name = format!("orders-{}-{}-{}-{}.csv", visitor.store.slug, asked.mode, day(from_ms), day(to_ms));
    visitor.visit.file(&name, "text/csv; charset=utf-8; header=present", body)
}

const COLUMNS: &str = "order_id,created_at,mode,status,external_reference,customer_email,currency,total,total_minor\r\n";

fn csv(orders: &[Order]) -> Vec<u8> {
    let mut text = String::with_capacity(COLUMNS.len() + orders.len() * 160);
    text.push_str(COLUMNS);
    for order in orders {
        let currency = order.currency.as_deref().unwrap_or_default();
        let minor = order.total_minor.and_then(|minor| Minor::new(minor).ok());
        let total = minor.zip(Currency::parse(currency).ok()).map(|(minor, currency)| minor.decimal(currency)).unwrap_or_default();
        let minor = order.total_minor.map(|minor| minor.to_string()).unwrap_or_default();
        let created = rfc3339(order.created_at_ms);
        let (mode, status) = (order.mode.as_str(), order.status.as_str());
        let reference = order.external_reference.as_deref().unwrap_or_default();
        let values =
            [order.id.as_str(), &created, mode, status, reference, &order.customer_email, currency, total.as_str(), minor.as_str()];
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            push_value(&mut text, value);
        }
        text.push_str("\r\n");
    }
    text.into_bytes()
}

/// One value, as RFC 4180 quotes it. Spreadsheets compute what begins like a formula, and customers choose their references and addresses:
/// such a value gets an apostrophe in front, which spreadsheets take for "this is text".
fn push_value(text: &mut String, value: &str) {
    let is_formula = value.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    if !is_formula && !value.contains([',', '"', '\r', '\n']) {
        return text.push_str(value);
    }
    text.push('"');
    text.push_str(if is_formula { "'" } else { "" });
    text.push_str(&value.replace('"', "\"\""));
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &str) -> String {
        let mut text = String::new();
        push_value(&mut text, value);
        text
    }

    #[test]
    fn values_are_read_as_they_were_and_never_computed() {
        for (value, expected) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=HYPERLINK(\"http://evil\")", "\"'=HYPERLINK(\"\"http://evil\"\")\""),
            ("+1", "\"'+1\""),
            ("-1+2", "\"'-1+2\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("\t=1", "\"'\t=1\""),
            ("a=1", "a=1"),
            ("", ""),
        ] {
            assert_eq!(shown(value), expected, "{value:?}");
        }
    }

    #[test]
    fn days_begin_at_midnight_in_utc() {
        assert_eq!(day_begin_ms("1970-01-02"), Some(DAY_MS));
        assert_eq!(day_begin_ms("2026-11-23").map(day).as_deref(), Some("2026-11-23"));
        for not in ["", "2026-11-31", "23.11.2026", "1969-12-31", "x"] {
            assert_eq!(day_begin_ms(not), None, "{not}");
        }
    }
}
