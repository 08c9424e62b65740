//! Tax quotes: asked by an edge, answered by a worker, over real Redis; with the rates that operators lay on top; and what is said when
//! nobody answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::cart::Sku;
use common::geo::{CountryCode, Subdivisions};
use common::job::COMPUTE_TAX;
use common::money::{Currency, Minor};
use common::tax::quote::{QuoteError, QuoteLine, QuoteRequest, TaxQuote};
use common::tax::{Category, TaxTable, import, parse_date};
use edge::tax_quotes::NoQuote;
use storage::pg::tax_rates;
use storage::queue::{Producer, QueueName};
use storage::redis;
use tokio::task::block_in_place;

use crate::system::{Edge, SOON, System, eventually, in_parallel};

fn request(country: &str, amount_minor: i64) -> QuoteRequest {
    let line = QuoteLine {
        sku: Sku::parse("SKU-1").unwrap(),
        quantity: 1,
        amount_minor: Minor::new(amount_minor).unwrap(),
        category: Category::Standard,
    };
    QuoteRequest {
        lines: vec![line],
        currency: Currency::parse("GBP").unwrap(),
        country: CountryCode::parse(country).unwrap(),
        subdivision: None,
        prices_include_tax: Some(false),
        seller_country: None,
        vat_id: None,
        date: parse_date("2027-03-01").unwrap(),
    }
}

async fn quote(edge: &Edge, country: &str) -> Result<TaxQuote, NoQuote> {
    edge.tax_quotes().quote(&request(country, 10_000), "test").await
}

pub async fn import_rate(system: &System, rate: &str) {
    let table = TaxTable::load(Arc::new(Subdivisions::load().unwrap())).unwrap();
    let (rates, _) = table.import(&format!("{}\n{rate}\n", import::HEADER)).unwrap();
    let mut client = system.pg.client().await.unwrap();
    let tx = client.transaction().await.unwrap();
    tax_rates::lock(&tx).await.unwrap();
    tax_rates::insert(&tx, &rates).await.unwrap();
    tx.commit().await.unwrap();
}

async fn queue(system: &System) -> Producer {
    let settings = system.settings();
    let queue = Producer::new(redis::client(&settings.redis).unwrap(), QueueName::new(&settings.queue.prefix, COMPUTE_TAX));
    eventually("Redis to be connected", SOON, async || queue.is_connected().then_some(())).await;
    queue
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_answer_and_an_import_is_everywhere_within_a_second() {
    let system = System::new().await;
    let (edge, worker) = (system.edge().await, system.worker().await);
    let answer = quote(&edge, "GB").await.unwrap();
    assert_eq!((answer.net_minor.get(), answer.tax_minor.get(), answer.rates[0].rate_ppm), (10_000, 2_000, 200_000));
    assert_eq!(
        quote(&edge, "US").await,
        Err(NoQuote::Refused(QuoteError::SubdivisionRequired { country: CountryCode::parse("US").unwrap() }))
    );
    // 2025-10-16 is the date of the oldest compiled-in rates.
    assert_eq!(worker.metric("worker_tax_oldest_as_of_timestamp_seconds"), 1_760_572_800.0);

    import_rate(&system, "GB,,vat,standard,17.5,2027-01-01,,alone,operator,2026-11-20,").await;
    let imported = Instant::now();
    let client = edge.client("");
    let (mut quoted, mut shown) = (None, None);
    while quoted.is_none() || shown.is_none() {
        assert!(imported.elapsed() < SOON, "followed: quotes {quoted:?}, published rates {shown:?}");
        if quoted.is_none() && quote(&edge, "GB").await.unwrap().tax_minor.get() == 1_750 {
            quoted = Some(imported.elapsed());
        }
        let rates = client.get("/api/v1/tax/rates/?country=GB&date=2027-03-01").await.unwrap().json();
        if shown.is_none() && rates["rates"][0]["rate_percent"] == "17.50" {
            shown = Some(imported.elapsed());
        }
    }
    println!("an import was followed by quotes after {quoted:?}, by the published rates after {shown:?}");
    assert!(quoted.max(shown) < Some(Duration::from_secs(2)), "{quoted:?}, {shown:?}");

    // What starts afterwards knows it too, and so it goes when all is taken away.
    let second = system.edge().await;
    let rates = second.client("").get("/api/v1/tax/rates/?country=GB&date=2027-03-01").await.unwrap().json();
    assert_eq!(rates["rates"][0]["rate_percent"], "17.50");
    let mut client = system.pg.client().await.unwrap();
    let tx = client.transaction().await.unwrap();
    assert_eq!(tax_rates::clear(&tx).await.unwrap(), 1);
    tx.commit().await.unwrap();
    eventually("the compiled-in rate", SOON, async || (quote(&edge, "GB").await.unwrap().tax_minor.get() == 2_000).then_some(())).await;
    edge.stop().await;
    second.stop().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_large_lines_and_many_at_once_are_answered() {
    let system = System::new().await;
    let (edge, worker) = (Arc::new(system.edge().await), system.worker().await);
    let answers = in_parallel(200, 64, |number| {
        let edge = edge.clone();
        async move {
            let mut asked = request("GB", 1_000 + number as i64);
            asked.lines = vec![QuoteLine { sku: Sku::parse(&"x".repeat(64)).unwrap(), ..asked.lines[0].clone() }; 50];
            (number as i64, edge.tax_quotes().quote(&asked, "test").await)
        }
    })
    .await;
    for (number, answer) in answers {
        assert_eq!(answer.unwrap().net_minor.get(), 50 * (1_000 + number), "everybody has an answer of his own");
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_worker_there_is_no_quote_after_three_seconds_and_the_question_is_dropped_later() {
    let mut system = System::new().await;
    system.set("EDGE__WAITERS_MAX", "1");
    let edge = system.edge().await;
    let asked = Instant::now();
    let (first, second) = tokio::join!(quote(&edge, "GB"), async {
        // The first to ask has the only place.
        tokio::task::yield_now().await;
        let shed = quote(&edge, "GB").await;
        (shed, asked.elapsed())
    });
    let took = asked.elapsed();
    assert_eq!((&first, &second.0), (&Err(NoQuote::Unavailable), &Err(NoQuote::Unavailable)));
    assert!((Duration::from_millis(2_990)..Duration::from_millis(3_500)).contains(&took), "{took:?}");
    assert!(second.1 < Duration::from_secs(1), "who finds no place is told at once: {:?}", second.1);
    assert_eq!((edge.metric(r#"edge_tax_quotes_total{how="no_answer"}"#), edge.metric(r#"edge_tax_quotes_total{how="shed"}"#)), (1.0, 1.0));

    let queue = queue(&system).await;
    assert_eq!(queue.depth().await.unwrap(), 1);
    let worker = system.worker().await;
    eventually("the queue to be empty", SOON, async || (queue.depth().await.ok()? == 0).then_some(())).await;
    assert_eq!(worker.metric(r#"worker_jobs_total{kind="compute_tax",outcome="moot"}"#), 1.0);
    assert_eq!(quote(&edge, "GB").await.unwrap().tax_minor.get(), 2_000);
    edge.stop().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_there_is_no_quote_at_once_and_with_it_there_is_again() {
    let mut system = System::new().await;
    let (edge, worker) = (system.edge().await, system.worker().await);
    assert!(quote(&edge, "GB").await.is_ok());
    block_in_place(|| system.redis.stop()).unwrap();
    eventually("the edge to see it", SOON, async || (!edge.tax_quotes().asker.asking.is_connected()).then_some(())).await;
    let asked = Instant::now();
    assert_eq!(quote(&edge, "GB").await, Err(NoQuote::Unavailable));
    assert!(asked.elapsed() < Duration::from_millis(250), "{:?}", asked.elapsed());
    assert!(edge.metric(r#"edge_tax_quotes_total{how="not_asked"}"#) >= 1.0);
    block_in_place(|| system.redis.restart()).unwrap();
    eventually("quotes again", SOON, async || quote(&edge, "GB").await.ok()).await;
    edge.stop().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_a_dead_letter_and_keeps_nobody_waiting() {
    let system = System::new().await;
    let (edge, worker) = (system.edge().await, system.worker().await);
    queue(&system).await.push(b"nobody sealed this").await.unwrap();
    eventually("the dead letter", SOON, async || {
        (system.number("select count(*) from dead_letters where queue = 'compute_tax'").await == 1).then_some(())
    })
    .await;
    assert!(quote(&edge, "GB").await.is_ok());
    edge.stop().await;
    worker.stop().await;
}
